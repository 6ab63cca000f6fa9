package pool

import (
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// longestCooldown bounds `network set cooldown=`: an address that must rest
// longer is one to exclude.
const longestCooldown = time.Hour

// ParseCooldown reads how long an address rests between two containers, as
// 30s or 5m; 0 is none.
func ParseCooldown(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > longestCooldown {
		return 0, fmt.Errorf("cooldown %q: give a time of at most 1h, as 30s or 5m, or 0 for none", text)
	}
	return d, nil
}

// CooldownOf is that of a network; none where it cannot be read.
func CooldownOf(o store.Overrides) time.Duration {
	if o.Cooldown == "" {
		return 0
	}
	d, err := ParseCooldown(o.Cooldown)
	if err != nil {
		return 0
	}
	return d
}
