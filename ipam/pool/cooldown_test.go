package pool

import (
	"testing"
	"time"
)

func TestParseCooldown(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "1h": time.Hour, "0": 0} {
		if got, err := ParseCooldown(text); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "30", "-1s", "61m", "soon"} {
		if got, err := ParseCooldown(text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}
