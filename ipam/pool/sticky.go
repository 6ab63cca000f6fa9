package pool

import (
	"fmt"
	"time"
)

// longestSticky bounds sticky=: an address that is to wait longer is one to
// reserve.
const longestSticky = 30 * 24 * time.Hour

// usualSticky is for how long the address of a removed container is kept for one of
// its name, where sticky= does not say: what is made again is so within minutes.
const usualSticky = 10 * time.Minute

// sticky is for how long what a container had is kept for its return.
type sticky struct {
	said bool // by sticky=
	time time.Duration
}

// parseSticky reads how long that is, as 30m or 24h; 0 is not at all.
func parseSticky(text string) (sticky, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > longestSticky {
		return sticky{}, fmt.Errorf("sticky %q: give a time of at most 720h, as 30m or 24h, or 0 for none", text)
	}
	return sticky{true, d}, nil
}

// KeepsStopped reports whether what a container had is kept for it, which stopped so
// long ago: as long as it is there, where sticky= does not say.
func (o Options) KeepsStopped(ago time.Duration) bool {
	return !o.sticky.said || ago < o.sticky.time
}

// KeepsRemoved reports whether what a container had that was removed so long ago is
// kept for the next one of its name.
func (o Options) KeepsRemoved(ago time.Duration) bool {
	if !o.sticky.said {
		return ago < usualSticky
	}
	return ago < o.sticky.time
}
