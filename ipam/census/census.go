package census

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
)

// apart is the least time between the beginnings of two lists of one subnet: so
// much may refusals cost the store, however many ask. With the tally it is less
// than two a second.
const apart = 700 * time.Millisecond

// Scanner is what is needed of a store.KV.
type Scanner interface {
	Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error)
}

// Lists are those that the requests of one node make.
type Lists struct {
	store   Scanner
	mirrors *mirror.Mirrors
	now     func() time.Time

	mu    sync.Mutex
	lines map[string]*line // by segment and ranges
}

// line are the lists of the same ranges, made one after the other.
type line struct {
	turn chan struct{} // whoever has its one place makes a list, or finds one made

	mu      sync.Mutex
	begun   int       // lists
	at      time.Time // of the beginning of the last one
	waiting int       // who asks for one
	last    *mirror.Mirror
	made    int // the number of last

	telling chan struct{} // whoever has its one place reads or writes what follows
	told    string        // of the last tally
	untold  error         // why there is none
	toldAt  time.Time
}

// New lists nothing yet.
func New(store Scanner, mirrors *mirror.Mirrors, now func() time.Time) *Lists {
	return &Lists{store: store, mirrors: mirrors, now: now, lines: map[string]*line{}}
}

func (l *Lists) line(segment string, ranges []netip.Prefix) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := fmt.Sprint(segment, ranges)
	if l.lines[key] == nil {
		l.lines[key] = &line{turn: make(chan struct{}, 1), telling: make(chan struct{}, 1)}
	}
	return l.lines[key]
}

// Now returns what a list of the ranges of a subnet shows that begins after
// this call does. Those who ask at the same time share one; the next one begins
// 700 ms later at the soonest. Whoever has it tells it what it learns.
func (l *Lists) Now(ctx context.Context, segment string, subnet netip.Prefix, ranges []netip.Prefix) (*mirror.Mirror, error) {
	ln := l.line(segment, ranges)
	asked := ln.enter()
	defer ln.leave()
	select {
	case ln.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	defer func() { <-ln.turn }()
	if m := ln.since(asked); m != nil {
		return m, nil
	}
	if !store.Sleep(ctx, ln.at.Add(apart).Sub(l.now())) {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	number := ln.begin(l.now())
	m, err := l.scan(ctx, segment, subnet, ranges, func(*mirror.Mirror, netip.Addr) bool { return false })
	if err != nil {
		return nil, err
	}
	ln.end(number, m)
	return m, nil
}

// enter returns how many lists have begun: none of those is good enough.
func (ln *line) enter() (asked int) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.waiting++
	return ln.begun
}

// leave forgets what nobody waits for.
func (ln *line) leave() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.waiting--; ln.waiting == 0 {
		ln.last = nil
	}
}

// since returns the last list if it began after so many had.
func (ln *line) since(asked int) *mirror.Mirror {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.made > asked {
		return ln.last
	}
	return nil
}

func (ln *line) begin(now time.Time) (number int) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.begun++
	ln.at = now
	return ln.begun
}

func (ln *line) end(number int, m *mirror.Mirror) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.last, ln.made = m, number
}

// beginningPages is how much of a subnet is read that has no mirror yet.
const beginningPages = 2

// errEnough ends a scan.
var errEnough = errors.New("enough is read")

// Beginning returns what the first keys of the ranges show: of a subnet that is
// filled from its lowest address on they end at a free one, or it has so many
// that one drawn is likely to be free. Whole reports whether an address beyond
// what was read is known to be free, too.
func (l *Lists) Beginning(ctx context.Context, segment string, subnet netip.Prefix, ranges []netip.Prefix, never []*addrset.Set) (m *mirror.Mirror, whole bool, err error) {
	pages := 0
	whole = true
	m, err = l.scan(ctx, segment, subnet, ranges, func(m *mirror.Mirror, read netip.Addr) bool {
		pages++
		if m.HasFree(ranges, never, read) {
			return true
		}
		whole = pages < beginningPages
		return !whole
	})
	return m, whole, err
}

// scan lists the keys of ranges until enough says that it is, given the last
// address that was read.
func (l *Lists) scan(ctx context.Context, segment string, subnet netip.Prefix, ranges []netip.Prefix, enough func(*mirror.Mirror, netip.Addr) bool) (*mirror.Mirror, error) {
	m := l.mirrors.New(segment, subnet)
	m.Begin(0)
	var rev store.Revision
	for _, r := range ranges {
		at, err := l.store.Scan(ctx, store.LeasesSpan(segment, r), store.KeysOnly, func(items []store.Item) error {
			m.Page(items)
			if len(items) > 0 && enough(m, lastOf(items)) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, err
		}
		if rev == 0 || at < rev {
			rev = at
		}
		if err != nil {
			break
		}
	}
	m.Apply(store.Change{Reset: true, Revision: rev})
	return m, nil
}

// lastOf is the address of the last key.
func lastOf(items []store.Item) netip.Addr {
	key := items[len(items)-1].Key
	if _, addr, ok := store.CooldownOf(key); ok {
		return addr
	}
	_, addr, _ := store.LeaseOf(key)
	return addr
}
