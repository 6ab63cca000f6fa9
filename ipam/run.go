package ipam

import (
	"context"
	"errors"
	"time"

	"gvlan/cluster/store"
)

// lookEvery is how often Run looks for what calls left undone when nobody
// wakes it: the store may be back.
const lookEvery = time.Second

// Run mirrors the subnets of open pools, writes to the store what the
// journal owes it, and compares what this node holds with the store whenever
// its session was opened anew or a record of it vanishes. It returns nil when ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	defer a.mirrors.Stop()
	a.followOwn(ctx)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		a.mirror(ctx)
		if a.Self.Trusted() == nil {
			if epoch := a.Self.Epoch(); epoch != a.compared.Load() && a.compare(ctx) == nil && a.claimMACs(ctx) == nil {
				a.compared.Store(epoch)
			}
			a.attend(ctx)
		}
		select {
		case <-ctx.Done():
		case <-a.kick:
		case <-tick.C:
		}
	}
	return nil
}

// attend does one round of what is left undone, within one call's bounds.
func (a *Allocator) attend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	if a.away.Load() {
		if _, err := a.read(ctx, store.MetaKey()); err != nil {
			return
		}
	}
	for _, at := range a.suspect.drain() {
		if _, err := a.reconcile(ctx, at); err != nil {
			a.suspect.add(at)
			a.Log.Warn("an address is compared with the store later", "address", at.Addr, "err", err)
		}
	}
	a.restoreMissing(ctx)
	a.settle(ctx)
}

// settle writes what the journal owes the store: releases, records of deleted
// endpoints, bindings, which may be of containers that started again with the
// MAC address that such an endpoint had, and reservations of pools that are
// done. It ends at the first call that is not answered.
func (a *Allocator) settle(ctx context.Context) {
	var undone []func() error
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return l.State == releasing }) {
		undone = append(undone, func() error { return a.settleRelease(ctx, l) })
	}
	for _, e := range a.ledger.endpointsWhere(func(e endpoint) bool { return e.State == closing }) {
		undone = append(undone, func() error { return a.closeEndpoint(ctx, e) })
	}
	for _, e := range a.ledger.endpointsWhere(func(e endpoint) bool { return e.State == unwritten }) {
		undone = append(undone, func() error { return a.settleBinding(ctx, e) })
	}
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.Closed || len(p.Owed) > 0 && p.joined() }) {
		undone = append(undone, func() error { return a.settlePool(ctx, p.ID) })
	}
	for _, do := range undone {
		if err := do(); errors.Is(err, store.ErrUnavailable) {
			return
		} else if err != nil {
			a.Log.Warn("the address journal is not settled yet", "err", err)
		}
	}
}

// settleRelease writes a release, unless the address was given again.
func (a *Allocator) settleRelease(ctx context.Context, was lease) error {
	release, err := a.ledger.hold(ctx, was.place())
	if err != nil {
		return err
	}
	defer release()
	l, ok := a.ledger.lease(was.place())
	if !ok || l != was {
		return nil
	}
	return a.discharge(ctx, l)
}

// settleBinding writes what was bound while the store was away. The state of
// the network's definition is not asked: the container runs.
func (a *Allocator) settleBinding(ctx context.Context, was endpoint) error {
	id := was.Record.Endpoint
	mine := func(l lease) bool { return l.Endpoint == id && l.State == bound }
	release, err := a.ledger.hold(ctx, placesOfLeases(a.ledger.leasesWhere(mine))...)
	if err != nil {
		return err
	}
	defer release()
	e, ok := a.ledger.endpoint(id)
	if !ok || e.State != unwritten {
		return nil
	}
	leases := a.ledger.leasesWhere(mine)
	_, err = a.writeBinding(ctx, network{}, e, leases, a.macSteps(e.Record))
	if errors.Is(err, ErrMACTaken) {
		a.Log.Error("two containers of a segment have one MAC address: stop one of them", "endpoint", short(id), "err", err)
		_, err = a.writeBinding(ctx, network{}, e, leases, macSteps{})
	}
	var gone goneError
	if errors.As(err, &gone) {
		a.suspect.add(gone.at)
	}
	if err != nil {
		return err
	}
	e.State = written
	for i := range leases {
		leases[i].Reissued, leases[i].Doubt = false, false
	}
	return a.ledger.keep(entriesOf(e, leases)...)
}
