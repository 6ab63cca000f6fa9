package node

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Places hands out addresses to one call of this node at a time: whoever wants
// to write an address's record holds its place from before the transaction
// until the memory has its outcome, so that this node's writes of one address
// are one after the other while those of different addresses are not.
type Places struct {
	memory *journal.Memory

	mu    sync.Mutex // taken before the memory's
	busy  map[pool.Place]chan struct{}
	inUse map[string]*addrset.Set // by segment: the addresses of busy
}

func newPlaces(m *journal.Memory) *Places {
	return &Places{memory: m, busy: map[pool.Place]chan struct{}{}, inUse: map[string]*addrset.Set{}}
}

// Hold takes places, in one order everywhere so that no two wait for each
// other, and returns how to give them back.
func (p *Places) Hold(ctx context.Context, wanted ...pool.Place) (release func(), err error) {
	wanted = slices.Clone(wanted)
	slices.SortFunc(wanted, func(a, b pool.Place) int {
		return cmp.Or(strings.Compare(a.Segment, b.Segment), a.Addr.Compare(b.Addr))
	})
	wanted = slices.Compact(wanted)
	for i, at := range wanted {
		if err := p.holdOne(ctx, at); err != nil {
			p.letGo(wanted[:i]...)
			return nil, fmt.Errorf("wait for another request of address %s: %w", at.Addr, err)
		}
	}
	return func() { p.letGo(wanted...) }, nil
}

func (p *Places) holdOne(ctx context.Context, at pool.Place) error {
	for {
		p.mu.Lock()
		free, taken := p.busy[at]
		if !taken {
			p.occupy(at)
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// HoldFree holds the place that choose returns, given the addresses of a
// segment that this node holds or that a call of it is about.
func (p *Places) HoldFree(segment string, choose func(own ...*addrset.Set) (netip.Addr, bool)) (at pool.Place, release func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory.WithHeld(segment, func(held *addrset.Set) {
		at.Addr, ok = choose(held, addrset.In(p.inUse, segment))
	})
	if !ok {
		return pool.Place{}, nil, false
	}
	at.Segment = segment
	p.occupy(at)
	return at, func() { p.letGo(at) }, true
}

// ChooseBusy returns the place that choose returns, given the addresses of a
// segment that this node holds. It holds nothing.
func (p *Places) ChooseBusy(segment string, choose func(own *addrset.Set) (netip.Addr, bool)) (at pool.Place, ok bool) {
	p.memory.WithHeld(segment, func(held *addrset.Set) { at.Addr, ok = choose(held) })
	at.Segment = segment
	return at, ok
}

// IsBusy reports whether a call is about that place right now.
func (p *Places) IsBusy(at pool.Place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, busy := p.busy[at]
	return busy
}

func (p *Places) occupy(at pool.Place) {
	p.busy[at] = make(chan struct{})
	addrset.In(p.inUse, at.Segment).Add(addrset.Single(at.Addr))
}

func (p *Places) letGo(held ...pool.Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range held {
		close(p.busy[at])
		delete(p.busy, at)
		addrset.In(p.inUse, at.Segment).Remove(addrset.Single(at.Addr))
	}
}
