// Package wanted is which addresses containers want again that do not run: they
// are given to others last. It puts an order on candidates and refuses nothing.
package wanted

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"gvlan/ipam/addrset"
)

// Address is one that a stopped container will want again: the one that
// its user gave it, or the one it had.
type Address struct {
	Segment string
	Address netip.Addr
	Fixed   bool // the user gave it, so it is asked for by itself
	Gone    bool // the container was removed: it is for the next one of its name
	// Of a container of this host, or of one that is gone, else "".
	Network   string // the engine's network id
	Container string // its name
}

// Book is what stopped containers of all hosts will want again. Its zero value
// is empty.
type Book struct {
	mu   sync.Mutex
	late map[string]*addrset.Set // by segment: given last; a set is replaced, never changed
	here []Address               // of this host's containers
	own  map[string]*addrset.Set // by segment: what those of this host want that are only stopped, replaced like late
	rest map[string]*addrset.Set // likewise of all other hosts
	// left are addresses that users gave to containers which let go of them before
	// the first look: whether those want them again is not known yet. After a power
	// cut the engine takes from all of its containers what they had before it starts
	// the first.
	left   map[string]*addrset.Set
	looked bool
	named  bool // the engine said who asks
	// recent is what named containers of this host let go of a moment ago: the next
	// look tells.
	recent map[on][]Address
	// ended is when containers of this host let go of a network, of those that have
	// neither started since nor are gone: a look may not have seen it yet.
	ended map[on]time.Time
}

// on is a container on one of the engine's networks.
type on struct{ network, container string }

// Avoid replaces the addresses that are given only when nothing else is free,
// since stopped containers want them again: this host's containers were looked at.
func (b *Book) Avoid(all []Address) {
	late, own, rest := map[string]*addrset.Set{}, map[string]*addrset.Set{}, map[string]*addrset.Set{}
	var here []Address
	for _, k := range all {
		one := addrset.Single(k.Address)
		addrset.In(late, k.Segment).Add(one)
		switch {
		case k.Network == "":
			addrset.In(rest, k.Segment).Add(one)
			continue
		case !k.Gone:
			addrset.In(own, k.Segment).Add(one)
		}
		here = append(here, k)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.late, b.here, b.own, b.rest = late, here, own, rest
	b.left, b.looked = nil, true
	b.recent = nil
}

// Late are the addresses of a segment that are given last.
func (b *Book) Late(segment string) *addrset.Set {
	b.mu.Lock()
	defer b.mu.Unlock()
	late, left := b.late[segment], b.left[segment]
	switch {
	case late == nil && left == nil:
		return &addrset.Set{}
	case left == nil:
		return late
	case late == nil:
		return left
	}
	both := late.Clone()
	for run := range left.Intervals() {
		both.Add(run)
	}
	return both
}

// Stopped are the addresses of a segment that containers want again which are
// stopped, not gone: those of this host, and those of all others.
func (b *Book) Stopped(segment string) (here, elsewhere *addrset.Set) {
	b.mu.Lock()
	defer b.mu.Unlock()
	here, elsewhere = b.own[segment], b.rest[segment]
	if here == nil {
		here = &addrset.Set{}
	}
	if elsewhere == nil {
		elsewhere = &addrset.Set{}
	}
	return here, elsewhere
}

// Left notes that a container of this host let go of an address that its user
// gave it.
func (b *Book) Left(segment string, addr netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.looked {
		return // the next look tells
	}
	if b.left == nil {
		b.left = map[string]*addrset.Set{}
	}
	set := &addrset.Set{}
	if had := b.left[segment]; had != nil {
		set = had.Clone()
	}
	set.Add(addrset.Single(addr))
	b.left[segment] = set
}

// LetGo notes that a container of this host let go of what it had, if the engine
// names those who ask: the next one of its name is to have it.
func (b *Book) LetGo(network, container, segment string, addr netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.named || len(b.recent) >= mostRecent {
		return
	}
	if b.recent == nil {
		b.recent = map[on][]Address{}
	}
	at := on{network, container}
	b.recent[at] = append(b.recent[at], Address{Segment: segment, Address: addr, Network: network, Container: container})
}

// mostRecent bounds what is remembered between two looks.
const mostRecent = 1000

// Named reports whether the engine ever said who asks.
func (b *Book) Named() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.named
}

// endedFor bounds how long it is remembered, where no event of the engine's ends it.
const endedFor = time.Minute

// Ended notes that a container of this host is on a network no more: it may be the
// next that asks there.
func (b *Book) Ended(network, container string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended == nil {
		b.ended = map[on]time.Time{}
	}
	maps.DeleteFunc(b.ended, func(_ on, at time.Time) bool { return now.Sub(at) > endedFor })
	b.ended[on{network, container}] = now
}

// Began notes that a container has started, or is gone.
func (b *Book) Began(container string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.ended, func(one on, _ time.Time) bool { return one.container == container })
}

// Idle are the containers that were on a network a moment ago.
func (b *Book) Idle(network string, now time.Time) (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for one, at := range b.ended {
		if one.network == network && now.Sub(at) <= endedFor {
			names = append(names, one.container)
		}
	}
	return names
}

// Of are the addresses that whoever asks on one of the engine's networks had
// before. Engines from 29 name the container. Of others a stopped container is
// known to ask where none can that never ran; of several the one that had the
// lowest is taken for it.
func (b *Book) Of(network, name string, newcomers func(network string) bool) (own []Address) {
	if name == "" && (newcomers == nil || newcomers(network)) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.here {
		if one.Network == network && !one.Fixed && (name == "" && !one.Gone || name == one.Container) {
			own = append(own, one)
		}
	}
	if name != "" {
		b.named = true
		own = append(b.recent[on{network, name}], own...)
	}
	return own
}
