package pool

import (
	"testing"
	"time"

	"gvlan/cluster/store"
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

func TestCooldownOfANetwork(t *testing.T) {
	for _, c := range []struct {
		option, override string
		want             time.Duration
	}{
		{"", "", 0}, {"30s", "", 30 * time.Second}, {"", "1m", time.Minute}, {"30s", "1m0s", time.Minute}, {"30s", "0s", 0}, {"30s", "soon", 0},
	} {
		given := map[string]string{}
		if c.option != "" {
			given["cooldown"] = c.option
		}
		o, err := ParseOptions(given)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.CooldownUnder(store.Overrides{Cooldown: c.override}); got != c.want {
			t.Errorf("option %q under override %q is %s, want %s", c.option, c.override, got, c.want)
		}
	}
}
