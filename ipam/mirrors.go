package ipam

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// mirror has the subnets of open pools followed. Only Run calls it.
func (a *Allocator) mirror(ctx context.Context) {
	subnets := map[mirror.Subnet]time.Duration{} // the longest cooldown of those who share it
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return !p.Closed }) {
		id := p.parsed()
		n, _ := a.ledger.network(p.Network)
		at := mirror.Subnet{Segment: id.Segment, Subnet: id.Subnet}
		subnets[at] = max(subnets[at], pool.CooldownOf(n.Overrides))
	}
	a.mirrors.Want(subnets, func(m *mirror.Mirror) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		a.mirrors.Work.Go(func() { a.follow(ctx, m) })
		return cancel
	})
}

func (a *Allocator) follow(ctx context.Context, m *mirror.Mirror) {
	err := store.Follow(ctx, a.KV, store.LeasesSpan(m.Segment, m.Subnet), func(c store.Change) {
		news, deleted := m.Apply(c)
		for _, it := range news {
			a.compareNews(m, it)
		}
		a.vanished(m, c, deleted)
	})
	if err != nil {
		a.Log.Error("a subnet is not mirrored; each address now costs a list", "subnet", m.Subnet, "err", err)
		m.Lose()
	}
}

// compareNews has a record compared that carries this node's name and that
// this node does not know (the journal was lost, or a transaction that was
// given up landed late), and one that does not and stands where this node's
// should. While a call is about its place a record of this node may be that
// call's own, and one that is not is found by that call. A call that ended
// since the news was brought may have deleted the record: the mirror, which
// learns so before the ledger forgets, is asked last.
func (a *Allocator) compareNews(m *mirror.Mirror, it store.Item) {
	segment, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return
	}
	switch at := (pool.At(segment, addr)); {
	case !a.namesThisNode(it):
		a.missStranger(at, it)
	case !a.ledger.isBusy(at) && a.isUnknown(at, it) && m.Has(addr):
		a.suspectAt(at)
	}
}

// namesThisNode spares decoding the records of others.
func (a *Allocator) namesThisNode(it store.Item) bool {
	return bytes.Contains(it.Value, []byte(a.Self.Node()))
}

// isUnknown tells whether a record is this node's by its own words, and none
// that its ledger knows.
func (a *Allocator) isUnknown(at pool.Place, it store.Item) bool {
	rec, err := store.Decode[store.Lease](it)
	if err != nil || rec.State != store.Leased || rec.Node != a.Self.Node() {
		return false
	}
	l, ok := a.ledger.lease(at)
	return !ok || l.Nonce != rec.Nonce
}

// suspectAt has a place compared with the store.
func (a *Allocator) suspectAt(at pool.Place) {
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
