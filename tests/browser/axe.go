package browser

import (
	"encoding/json"
	"fmt"

	"gvlan/tests/lab"
)

// audit runs axe-core on the page, and has the grave ones of what it finds.
const audit = `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations
	.filter(v => v.impact === "serious" || v.impact === "critical")
	.map(v => v.impact + ": " + v.help + " (" + v.id + "): " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + (n.any[0] || {message: ""}).message).join(" | "))))`

// Axe lists what of the page shuts people out, by axe-core: what it calls serious
// or critical.
func (t *Tab) Axe() ([]string, error) {
	script, err := lab.Axe()
	if err != nil {
		return nil, err
	}
	if _, err := Eval[bool](t, string(script)+";\ntrue"); err != nil {
		return nil, fmt.Errorf("load axe-core: %w", err)
	}
	found, err := Eval[string](t, audit)
	if err != nil {
		return nil, fmt.Errorf("run axe-core: %w", err)
	}
	var faults []string
	return faults, json.Unmarshal([]byte(found), &faults)
}
