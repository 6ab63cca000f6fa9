package ipam

import (
	"bytes"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// mirrors holds one mirror per subnet of a segment, shared by the pools that
// are views on it.
type mirrors struct {
	mu      sync.Mutex
	all     map[subnetOf]*mirror
	running map[subnetOf]context.CancelFunc
	work    sync.WaitGroup
	now     func() time.Time
}

type subnetOf struct {
	segment string
	subnet  netip.Prefix
}

func newMirrors(now func() time.Time) *mirrors {
	return &mirrors{all: map[subnetOf]*mirror{}, running: map[subnetOf]context.CancelFunc{}, now: now}
}

// of returns a subnet's mirror, made empty and not ready if need be.
func (s *mirrors) of(segment string, subnet netip.Prefix) *mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := subnetOf{segment, subnet}
	if s.all[at] == nil {
		s.all[at] = newMirror(segment, subnet, s.now)
	}
	return s.all[at]
}

// covering returns the mirrors that a place lies in.
func (s *mirrors) covering(at place) []*mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*mirror
	for o, m := range s.all {
		if o.segment == at.segment && o.subnet.Contains(at.addr) {
			found = append(found, m)
		}
	}
	return found
}

// want makes exactly these subnets be followed, and what becomes free in each
// be remembered for its time.
func (s *mirrors) want(subnets map[subnetOf]time.Duration, follow func(*mirror) context.CancelFunc) {
	for at, cooldown := range subnets {
		m := s.of(at.segment, at.subnet)
		m.rest(cooldown)
		if s.running[at] == nil {
			s.running[at] = follow(m)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.all {
		if _, wanted := subnets[at]; wanted {
			continue
		}
		if stop := s.running[at]; stop != nil {
			stop()
		}
		delete(s.running, at)
		delete(s.all, at)
	}
}

// stop ends every follower and waits for it.
func (s *mirrors) stop() {
	s.want(nil, nil)
	s.work.Wait()
}

// mirror has the subnets of open pools followed. Only Run calls it.
func (a *Allocator) mirror(ctx context.Context) {
	subnets := map[subnetOf]time.Duration{} // the longest cooldown of those who share it
	for _, p := range a.ledger.poolsWhere(func(p pool) bool { return !p.Closed }) {
		id := p.parsed()
		n, _ := a.ledger.network(p.Network)
		at := subnetOf{id.Segment, id.Subnet}
		subnets[at] = max(subnets[at], cooldownOf(n.Overrides))
	}
	a.mirrors.want(subnets, func(m *mirror) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		a.mirrors.work.Go(func() { a.follow(ctx, m) })
		return cancel
	})
}

func (a *Allocator) follow(ctx context.Context, m *mirror) {
	err := store.Follow(ctx, a.KV, store.LeasesSpan(m.segment, m.subnet), func(c store.Change) {
		news, deleted := m.apply(c)
		for _, it := range news {
			a.compareNews(m, it)
		}
		a.vanished(m, c, deleted)
	})
	if err != nil {
		a.Log.Error("a subnet is not mirrored; each address now costs a list", "subnet", m.subnet, "err", err)
		m.lose()
	}
}

// compareNews has a record compared that carries this node's name and that
// this node does not know (the journal was lost, or a transaction that was
// given up landed late), and one that does not and stands where this node's
// should. While a call is about its place a record of this node may be that
// call's own, and one that is not is found by that call. A call that ended
// since the news was brought may have deleted the record: the mirror, which
// learns so before the ledger forgets, is asked last.
func (a *Allocator) compareNews(m *mirror, it store.Item) {
	segment, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return
	}
	switch at := (place{segment, addr}); {
	case !a.namesThisNode(it):
		a.missStranger(at, it)
	case !a.ledger.isBusy(at) && a.isUnknown(at, it) && m.has(addr):
		a.suspectAt(at)
	}
}

// namesThisNode spares decoding the records of others.
func (a *Allocator) namesThisNode(it store.Item) bool {
	return bytes.Contains(it.Value, []byte(a.Self.Node()))
}

// isUnknown tells whether a record is this node's by its own words, and none
// that its ledger knows.
func (a *Allocator) isUnknown(at place, it store.Item) bool {
	rec, err := store.Decode[store.Lease](it)
	if err != nil || rec.State != store.Leased || rec.Node != a.Self.Node() {
		return false
	}
	l, ok := a.ledger.lease(at)
	return !ok || l.Nonce != rec.Nonce
}

// suspectAt has a place compared with the store.
func (a *Allocator) suspectAt(at place) {
	a.suspect.add(at)
	a.wake()
}

// suspects are things that Run will compare with the store, once each.
type suspects[K comparable] struct {
	mu  sync.Mutex
	all map[K]bool
}

func (s *suspects[K]) add(k K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[K]bool{}
	}
	s.all[k] = true
}

// drain returns them and forgets them.
func (s *suspects[K]) drain() []K {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Keys(s.all))
	clear(s.all)
	return all
}
