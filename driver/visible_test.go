package driver

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"büro 2, 中\tx\ny":   "büro 2, 中\tx\ny",
		"a\x1b[2Jb\rc\x07":  `a\u001b[2Jb\u000dc\u0007`,
		"\u009b2J\u202egpj": `\u009b2J\u202egpj`,
		"\x9b2J":            `\x9b2J`,
		"\U000e0041":        `\udb40\udc41`,
	} {
		if got := Visible(text); got != want {
			t.Errorf("Visible(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestVisibleKeepsJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.String().Draw(rt, "text")
		raw, err := json.Marshal(text)
		if err != nil {
			rt.Fatal(err)
		}
		shown := Visible(string(raw))
		var got string
		if err := json.Unmarshal([]byte(shown), &got); err != nil || got != text {
			rt.Fatalf("%q is read back as %q, %v", text, got, err)
		}
		if strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) {
			rt.Fatalf("%q is shown as %q", text, shown)
		}
	})
}

// TestErrorsForDockerAreVisible: they name hosts and containers of others, and
// Docker prints them as they are.
func TestErrorsForDockerAreVisible(t *testing.T) {
	c := newCluster(t)
	h1, odd := c.host("h1"), c.host("odd\x1b[2J\u009b")
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	odd.replica("lan1")
	odd.run("web", "lan1", ip("192.168.1.50"))
	_, err := h1.tryRun("api", "lan1", ip("192.168.1.50"))
	h1.wantErr(err, "in use", `odd\u001b[2J\u009b`)
	if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("Docker is told %q", err)
	}
}
