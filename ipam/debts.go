package ipam

import (
	"context"
	"errors"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
)

// debts are what the journal owes the store.
type debts struct {
	*node
	leases   *leases
	bindings *bindings
	pools    *pools
}

// settle writes what the journal owes the store: releases, records of deleted
// endpoints, bindings, which may be of containers that started again with the
// MAC address that such an endpoint had, and reservations of pools that are
// done. It ends at the first call that is not answered.
func (d *debts) settle(ctx context.Context) {
	var undone []func() error
	for _, l := range d.Memory.Leases(func(l journal.Lease) bool { return l.State == journal.Releasing }) {
		undone = append(undone, func() error { return d.leases.settleRelease(ctx, l) })
	}
	for _, e := range d.Memory.Bindings(func(e journal.Binding) bool { return e.State == journal.Closing }) {
		undone = append(undone, func() error { return d.bindings.closeEndpoint(ctx, e) })
	}
	for _, e := range d.Memory.Bindings(func(e journal.Binding) bool { return e.State == journal.Unwritten }) {
		undone = append(undone, func() error { return d.bindings.settleBinding(ctx, e) })
	}
	for _, p := range d.Memory.Pools(func(p journal.Pool) bool { return p.Closed || len(p.Owed) > 0 && p.Joined() }) {
		undone = append(undone, func() error { return d.pools.settlePool(ctx, p.ID) })
	}
	for _, do := range undone {
		if err := do(); errors.Is(err, store.ErrUnavailable) {
			return
		} else if err != nil {
			d.Log.Warn("the address journal is not settled yet", "err", err)
		}
	}
}
