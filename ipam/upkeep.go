package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// debts are what the journal owes the store.
type debts struct {
	*node.Node
	leases   *leases
	bindings *bindings
	pools    *pools
}

// settle writes what the journal owes the store: releases, records of deleted
// endpoints, bindings, which may be of containers that started again with the
// MAC address that such an endpoint had, and reservations of pools that are
// done. It ends at the first call that is not answered, and with those that are
// under way by then.
func (d *debts) settle(ctx context.Context) {
	var refused atomic.Bool
	if d.settleAll(ctx, &refused) && !refused.Load() {
		d.Troubles.Over(owing())
	}
}

// settleAll is settle. It reports whether the store answered to the end, and notes
// whether it refused something.
func (d *debts) settleAll(ctx context.Context, refused *atomic.Bool) bool {
	var undone []func() error
	for _, l := range d.Memory.Leases(func(l journal.Lease) bool { return l.State == journal.Releasing }) {
		undone = append(undone, func() error { return d.leases.settleRelease(ctx, l) })
	}
	if !d.pay(undone, refused) {
		return false
	}
	undone = nil
	for _, e := range d.bindings.overdue() { // but for what a release took away
		undone = append(undone, func() error { return d.bindings.closeEndpoint(ctx, e) })
	}
	if !d.pay(undone, refused) {
		return false
	}
	undone = nil
	for _, e := range d.Memory.Bindings(func(e journal.Binding) bool { return e.State == journal.Unwritten }) {
		undone = append(undone, func() error { return d.bindings.settleBinding(ctx, e) })
	}
	if !d.pay(undone, refused) {
		return false
	}
	for _, p := range d.Memory.Pools(func(p journal.Pool) bool { return p.Closed || len(p.Owed) > 0 && p.Joined() }) {
		if !d.pay([]func() error{func() error { return d.pools.settlePool(ctx, p.ID) }}, refused) {
			return false
		}
	}
	return true
}

// together is how many debts are paid at once: they share transactions, and the
// journal's syncs.
const together = 64

// owing is what writing debts fails as, which Run tries again each second.
func owing() trouble.Matter {
	return trouble.Matter{What: "writing what the journal owes the store", Then: "what was released stays taken, and other hosts do not know what is new"}
}

// comparing is what a comparison fails as, likewise.
func comparing() trouble.Matter {
	return trouble.Matter{What: "comparing addresses with the store", Then: "who has an address that is in doubt is not known"}
}

// pay writes debts that do not depend on each other, and reports whether the
// store answered; refused is set where it refused one. The first goes alone: a
// store that is away then costs one address its certainty.
func (d *debts) pay(undone []func() error, refused *atomic.Bool) bool {
	var silent atomic.Bool
	one := func(do func() error) {
		if silent.Load() {
			return
		}
		if err := do(); errors.Is(err, store.ErrUnavailable) {
			silent.Store(true)
		} else if err != nil {
			refused.Store(true)
			d.Troubles.Tell(owing(), err)
		}
	}
	if len(undone) == 0 {
		return true
	}
	one(undone[0])
	turn := make(chan func() error)
	var work sync.WaitGroup
	for range min(together, len(undone)-1) {
		work.Go(func() {
			for do := range turn {
				one(do)
			}
		})
	}
	for _, do := range undone[1:] {
		turn <- do
	}
	close(turn)
	work.Wait()
	return !silent.Load()
}

// upkeep keeps memory and store in agreement.
type upkeep struct {
	*node.Node
	leases       *leases
	reservations *reservations
	pools        *pools
	bindings     *bindings
	debts        *debts
	kept         *kept
	missing      missing
	strays       *strays
	compared     atomic.Int64 // the epoch in which compare was done
	agreed       atomic.Int64 // the epoch in which what compare found was looked at
	comparedAt   atomic.Int64 // a revision: what was written up to it is compared, or will be
	outran       atomic.Bool  // more was written meanwhile than is compared one by one
}

// Provisional returns what this node holds in the store and nothing
// confirmed. Any of it may be on its way to be confirmed; the reconcile loop
// frees what the engine does not know in two observations (FreeProvisional).
func (u *upkeep) Provisional(context.Context) ([]Held, error) {
	open := map[string]bool{}
	for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return !p.Closed }) {
		open[p.Parsed.Nonce] = true
	}
	// One whose pool was being made when it was found, or was taken back from the
	// engine since, is its pool's for as long as that is open.
	held := slices.DeleteFunc(u.strays.all(), func(h Held) bool { return open[h.Nonce] })
	for _, l := range u.Memory.Leases(func(l journal.Lease) bool { return l.IsGiven() || l.State == journal.Unbound }) {
		held = append(held, heldAddress(l))
	}
	for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return !p.Joined() && !p.Closed }) {
		held = append(held, heldPool(p))
	}
	return held, nil
}

func heldAddress(l journal.Lease) Held {
	h := Held{Kind: HeldAddress, Segment: l.Segment, Address: l.Address, Network: l.Network, Nonce: l.Nonce}
	if l.State == journal.Unbound {
		h.Endpoint = l.Endpoint
	}
	return h
}

func heldPool(p journal.Pool) Held {
	id := p.Parsed
	return Held{Kind: HeldPool, Segment: id.Segment, Subnet: id.Subnet, Nonce: id.Nonce}
}

// FreeProvisional gives up one of them, if it still is what it was: an
// address that was bound meanwhile, or a pool that was joined, stays. With
// the store away it is given up in the journal, and written later.
func (u *upkeep) FreeProvisional(ctx context.Context, h Held) error {
	switch h.Kind {
	case HeldPool:
		for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return !p.Joined() && heldPool(p) == h }) {
			return u.pools.ReleasePool(ctx, p.ID)
		}
		return nil
	case HeldStray:
		return u.freeStray(ctx, h)
	}
	return u.leases.freeAddress(ctx, h)
}

func (u *upkeep) freeStray(ctx context.Context, h Held) error {
	ctx, cancel := u.Bounded(ctx)
	defer cancel()
	if h.Subnet.IsValid() {
		if err := u.reservations.giveDefault(ctx, pool.ID{Subnet: h.Subnet, Nonce: h.Nonce}); err != nil {
			return fmt.Errorf("give subnet %s back: %w", h.Subnet, err)
		}
	} else if _, err := u.reservations.takeName(ctx, pool.At(h.Segment, h.Address), store.PoolEntry(h.Nonce, u.Self.Node()), ""); err != nil {
		return fmt.Errorf("give address %s back: %w", h.Address, err)
	}
	u.strays.remove(h)
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
	return slices.Collect(maps.Keys(s.held))
}

// findStrayDefault notes a default subnet of this node for a pool its
// journal does not know.
func (u *upkeep) findStrayDefault(rec store.DefaultPool) {
	subnet, err := netip.ParsePrefix(rec.Subnet)
	if err != nil || rec.Node != u.Self.Node() || len(rec.By) > 0 {
		return
	}
	if !u.Memory.Knew(rec.Nonce) {
		u.strays.add(Held{Kind: HeldStray, Subnet: subnet, Nonce: rec.Nonce})
	}
}

// lookEvery is how often Run looks for what calls left undone when nobody
// wakes it: the store may be back.
const lookEvery = time.Second

// Run mirrors the subnets of open pools, writes to the store what the
// journal owes it, and compares what this node holds with the store whenever
// its session was opened anew or a record of it vanishes. It returns nil when ctx ends.
func (u *upkeep) Run(ctx context.Context) error {
	defer u.Mirrors.Stop()
	u.followOwn(ctx)
	u.followReserved(ctx)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var failed time.Time // a comparison, which reads every lease: not at each wake
	for ctx.Err() == nil {
		u.mirror(ctx)
		if u.Self.Trusted() == nil {
			if u.outran.Swap(false) {
				u.compared.Store(0)
			}
			if epoch := u.Self.Epoch(); epoch != u.compared.Load() && u.Now().Sub(failed) >= lookEvery {
				if u.compareAll(ctx) == nil {
					u.compared.Store(epoch)
				} else {
					failed = u.Now()
				}
			}
			done := u.compared.Load()
			u.attend(ctx)
			u.agreed.Store(done)
		}
		select {
		case <-ctx.Done():
		case <-u.Woken():
		case <-tick.C:
		}
	}
	return nil
}

// KnowsItsOwn reports whether all that the store had under this node's name when
// its epoch began is in its memory now, also of a journal that was lost.
func (u *upkeep) KnowsItsOwn() bool {
	epoch := u.Self.Epoch()
	return epoch != 0 && u.agreed.Load() == epoch && u.Self.Trusted() == nil
}

// compareAll is what an epoch begins with.
func (u *upkeep) compareAll(ctx context.Context) error {
	if err := u.compare(ctx); err != nil {
		return err
	}
	return u.bindings.claimMACs(ctx)
}

// attend does one round of what is left undone, within one call's bounds.
func (u *upkeep) attend(life context.Context) {
	ctx, cancel := context.WithTimeout(life, u.Timeout)
	defer cancel()
	if u.IsAway() {
		if _, err := u.Read(ctx, store.MetaKey()); err != nil {
			return
		}
	}
	var failed error
	for _, at := range u.Suspect.Drain() {
		if _, err := u.leases.reconcile(ctx, at); err != nil {
			u.Suspect.Add(at)
			failed = fmt.Errorf("address %s: %w", at.Addr, err)
		}
	}
	u.Troubles.Settle(life, comparing(), failed)
	u.restoreMissing(ctx)
	u.debts.settle(ctx)
}
