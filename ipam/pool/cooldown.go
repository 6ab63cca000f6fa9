package pool

import (
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// longestCooldown bounds cooldown=: an address that must rest
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

// CooldownUnder is that of a pool with these options in a network with these
// overrides, which win; none where it cannot be read.
func (o Options) CooldownUnder(over store.Overrides) time.Duration {
	if over.Cooldown == "" {
		return o.Cooldown
	}
	d, err := ParseCooldown(over.Cooldown)
	if err != nil {
		return 0
	}
	return d
}
