package health

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/doctor"
)

func TestPrintReport(t *testing.T) {
	checks := []doctor.Looked{
		{Check: "agent", Saw: "gvlan 1.0, node n1"}, {Check: "clock", NotChecked: "no other host told its clock"}, {Check: "leftovers"},
	}
	well := doctor.Report{Host: "alpha", Healthy: true, Time: time.Unix(0, 0), Checks: checks}
	ill := well
	ill.Healthy = false
	ill.Findings = []doctor.Finding{
		{Check: "parents", Severity: doctor.Fault, What: "interface eth0 is down", Why: "nobody is reached", Cure: "ip link set eth0 up"},
		{Check: "published", Severity: doctor.Hint, What: "container web\npublishes 80/tcp", Why: "it has no effect", Cure: "none"},
	}
	const table = `
CHECKED     SAW
agent       gvlan 1.0, node n1
clock       not checked: no other host told its clock
leftovers   -
`
	for want, r := range map[string]doctor.Report{
		"host alpha: nothing is wrong\n" + table: well,
		`host alpha: 1 fault, 1 hint

FAULT (parents): interface eth0 is down
   why    nobody is reached
   cure   ip link set eth0 up

HINT (published): container web; publishes 80/tcp
   why    it has no effect
   cure   none
` + table: ill,
	} {
		var out strings.Builder
		if err := printReport(&out, r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("the report (-want +got):\n%s", diff)
		}
	}
}

// TestDoctor runs on whatever host this is: without an agent and an engine,
// which it finds.
func TestDoctor(t *testing.T) {
	folder := t.TempDir()
	nobody := filepath.Join(folder, "nobody.sock")
	where := []string{"--docker", "unix://" + nobody, "--data-dir", folder, "--plugin-socket-dir", folder}
	got := clitest.Type(t, NewDoctor("1.0"), nobody, append([]string{"--json"}, where...)...)
	var r doctor.Report
	if err := json.Unmarshal([]byte(got.Out), &r); err != nil {
		t.Fatalf("%v in %+v", err, got)
	}
	if got.Status != frame.Unhealthy || r.Healthy || got.Err != "" {
		t.Errorf("gvlan doctor ends with %d and says %q, want %d", got.Status, got.Err, frame.Unhealthy)
	}
	if len(r.Checks) == 0 || r.Checks[0].Check != "agent" {
		t.Errorf("checked is %+v", r.Checks)
	}
	got = clitest.Type(t, NewDoctor("1.0"), nobody, append([]string{"-q"}, where...)...)
	for _, want := range []string{"fault: agent: the agent does not answer: ", "fault: engine: the Docker engine does not answer: "} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("gvlan doctor -q prints\n%s\nwithout %q", got.Out, want)
		}
	}
	got = clitest.Type(t, NewDoctor("1.0"), nobody, "-q", "--json")
	if got.Status != frame.Misused {
		t.Errorf("-q with --json ends with %d, want %d", got.Status, frame.Misused)
	}
}
