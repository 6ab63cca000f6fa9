package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Provisional returns what this node holds in the store and nothing
// confirmed. Any of it may be on its way to be confirmed; the reconcile loop
// frees what the engine does not know in two observations (FreeProvisional).
func (a *Allocator) Provisional(context.Context) ([]Held, error) {
	held := a.strays.all()
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return l.State == given || l.State == unbound }) {
		held = append(held, heldAddress(l))
	}
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return !p.joined() && !p.Closed }) {
		held = append(held, heldPool(p))
	}
	return held, nil
}

func heldAddress(l lease) Held {
	h := Held{Kind: HeldAddress, Segment: l.Segment, Address: l.Address, Network: l.Network, Nonce: l.Nonce}
	if l.State == unbound {
		h.Endpoint = l.Endpoint
	}
	return h
}

func heldPool(p opened) Held {
	id := p.parsed()
	return Held{Kind: HeldPool, Segment: id.Segment, Subnet: id.Subnet, Nonce: id.Nonce}
}

// FreeProvisional gives up one of them, if it still is what it was: an
// address that was bound meanwhile, or a pool that was joined, stays. With
// the store away it is given up in the journal, and written later.
func (a *Allocator) FreeProvisional(ctx context.Context, h Held) error {
	switch h.Kind {
	case HeldPool:
		for _, p := range a.ledger.poolsWhere(func(p opened) bool { return !p.joined() && heldPool(p) == h }) {
			return a.ReleasePool(ctx, p.ID)
		}
		return nil
	case HeldStray:
		return a.freeStray(ctx, h)
	}
	return a.freeAddress(ctx, h)
}

func (a *Allocator) freeAddress(ctx context.Context, h Held) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	at := pool.At(h.Segment, h.Address)
	release, err := a.ledger.hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	l, ok := a.ledger.lease(at)
	if !ok || l.State != given && l.State != unbound || heldAddress(l) != h {
		return nil
	}
	return a.giveUp(ctx, l)
}

func (a *Allocator) freeStray(ctx context.Context, h Held) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if h.Subnet.IsValid() {
		if err := a.giveDefault(ctx, pool.ID{Subnet: h.Subnet, Nonce: h.Nonce}); err != nil {
			return fmt.Errorf("give subnet %s back: %w", h.Subnet, err)
		}
	} else if _, err := a.takeName(ctx, pool.At(h.Segment, h.Address), byPool(h.Nonce, a.Self.Node()), ""); err != nil {
		return fmt.Errorf("give address %s back: %w", h.Address, err)
	}
	a.strays.remove(h)
	return nil
}

// strays are reservations of this node that its journal does not know.
type strays struct {
	mu   sync.Mutex
	held map[Held]bool
}

func newStrays() *strays { return &strays{held: map[Held]bool{}} }

func (s *strays) add(h Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[h] = true
}

func (s *strays) remove(h Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, h)
}

func (s *strays) all() []Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []Held
	for h := range s.held {
		held = append(held, h)
	}
	return held
}

// findStrayDefault notes a default subnet of this node for a pool its
// journal does not know.
func (a *Allocator) findStrayDefault(rec store.DefaultPool) {
	subnet, err := netip.ParsePrefix(rec.Subnet)
	if err != nil || rec.Node != a.Self.Node() || len(rec.By) > 0 {
		return
	}
	if !a.ledger.knew(rec.Nonce) {
		a.strays.add(Held{Kind: HeldStray, Subnet: subnet, Nonce: rec.Nonce})
	}
}
