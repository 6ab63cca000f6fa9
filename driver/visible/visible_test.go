package visible_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode"

	"gvlan/driver/visible"

	"pgregory.net/rapid"
)

// TestShellWords: whatever a name holds, sh reads it back, and no terminal is
// told anything.
func TestShellWords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.StringOf(rapid.RuneFrom([]rune("a1-./=' \"$`\\*;&|<>(){}\n\x1b\u009bé%"))).Draw(rt, "word")
		spelt := visible.ShellWord(word)
		if strings.ContainsAny(spelt, "\n\x1b\u009b") {
			rt.Fatalf("%q is shown as %q", word, spelt)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+spelt).Output()
		if want := strings.TrimRight(word, "\n"); err != nil || strings.TrimRight(string(out), "\n") != want {
			rt.Fatalf("%q spelt %s is read as %q, %v", word, spelt, out, err)
		}
	})
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"büro 2, 中\tx\ny":   "büro 2, 中\tx\ny",
		"a\x1b[2Jb\rc\x07":  `a\u001b[2Jb\u000dc\u0007`,
		"\u009b2J\u202egpj": `\u009b2J\u202egpj`,
		"\x9b2J":            `\x9b2J`,
		"\U000e0041":        `\udb40\udc41`,
	} {
		if got := visible.Text(text); got != want {
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
		shown := visible.Text(string(raw))
		var got string
		if err := json.Unmarshal([]byte(shown), &got); err != nil || got != text {
			rt.Fatalf("%q is read back as %q, %v", text, got, err)
		}
		if strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) {
			rt.Fatalf("%q is shown as %q", text, shown)
		}
	})
}
