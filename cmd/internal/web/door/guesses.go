package door

import (
	"net/netip"
	"sync"
	"time"

	"gvlan/cmd/internal/listen"
)

// How often a wrong password may be tried: some at once, then one each time.
const (
	perSource     = 10
	perSourceEach = 10 * time.Second
	inAll         = 100
	inAllEach     = 2 * time.Second
	// mostSources bounds the addresses that are remembered, of those who were wrong
	// and of those who were right; the one of longest ago is forgotten.
	mostSources = 1024
	// quiet is after how long without a wrong password an address is told again.
	quiet = time.Hour
)

// guesses bounds wrong passwords, from an address and in all. Where too many have come
// in all, only addresses that had it right before are heard.
type guesses struct {
	now func() time.Time

	mu    sync.Mutex
	wrong map[netip.Prefix]*budget
	right map[netip.Prefix]time.Time // when last
	all   budget
}

// budget is how many wrong passwords are left.
type budget struct {
	spent float64
	at    time.Time // when spent was so
}

// settle counts what time has given back; one returns each time.
func (b *budget) settle(now time.Time, each time.Duration) {
	b.spent = max(0, b.spent-float64(now.Sub(b.at))/float64(each))
	b.at = now
}

// wait is how long until one more is left, of so many.
func (b *budget) wait(of float64, each time.Duration) time.Duration {
	return max(0, time.Duration((b.spent+1-of)*float64(each)))
}

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, wrong: map[netip.Prefix]*budget{}, right: map[netip.Prefix]time.Time{}, all: budget{at: now()}}
}

// try asks right of a password from an address, unless too many were wrong: it is
// then to be tried again after some time. First: it is the first wrong one of that
// address.
func (g *guesses) try(from netip.Addr, right func() bool) (let, first bool, again time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, now := listen.Source(from), g.now()
	g.all.settle(now, inAllEach)
	own := g.wrong[at]
	if own != nil && now.Sub(own.at) >= quiet {
		delete(g.wrong, at)
		own = nil
	}
	if own != nil {
		own.settle(now, perSourceEach)
		if again = own.wait(perSource, perSourceEach); again > 0 {
			return false, false, again
		}
	}
	if _, before := g.right[at]; !before {
		if again = g.all.wait(inAll, inAllEach); again > 0 {
			return false, false, again
		}
	}
	if right() {
		if _, before := g.right[at]; !before {
			forgetOldest(g.right, func(t time.Time) time.Time { return t })
		}
		g.right[at] = now
		return true, false, 0
	}
	if first = own == nil; first {
		forgetOldest(g.wrong, func(b *budget) time.Time { return b.at })
		own = &budget{at: now}
		g.wrong[at] = own
	}
	own.spent++
	g.all.spent++
	return false, first, 0
}

// forgetOldest makes room for one more.
func forgetOldest[T any](all map[netip.Prefix]T, when func(T) time.Time) {
	if len(all) < mostSources {
		return
	}
	var oldest netip.Prefix
	var at time.Time
	for from, one := range all {
		if t := when(one); at.IsZero() || t.Before(at) {
			oldest, at = from, t
		}
	}
	delete(all, oldest)
}
