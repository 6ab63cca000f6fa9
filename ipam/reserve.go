package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// A reservation is a record that nobody leases: a gateway or an aux address.
// It names everyone who needs it, so that two networks of one subnet may
// share a router or each have their own, and it is gone with the last name.
// Until a network's definition is committed the name is the pool's.

// reserve writes the pool's name into a reservation and notes in the pool
// what it is for.
func (a *Allocator) reserve(ctx context.Context, p opened, addr netip.Addr, note func(*opened)) error {
	if err := a.distrust(); err != nil {
		return err
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	at := pool.At(p.parsed().Segment, addr)
	release, err := a.ledger.hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	err = a.putReservation(ctx, at, p.by(a.Self.Node()))
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	kept := a.ledger.changePool(p.ID, func(p *opened) {
		p.Heard = a.Now().UnixMilli()
		if !slices.Contains(p.Owed, addr) {
			p.Owed = append(slices.Clone(p.Owed), addr) // also in doubt: it is given back with the pool
		}
		if err == nil {
			note(p)
		}
	})
	if err != nil {
		return errors.Join(a.unanswered(err), kept)
	}
	return kept
}

// putReservation adds a name to a reservation, making it if need be.
func (a *Allocator) putReservation(ctx context.Context, at pool.Place, name string) error {
	var found store.Item
	for {
		rec, err := a.reservation(ctx, at, found)
		if err != nil {
			return err
		}
		if slices.Contains(rec.By, name) {
			return nil
		}
		rec.By = append(rec.By, name)
		res, err := a.commit(ctx, store.Txn{
			Gives: true,
			If:    []store.Cond{store.Unchanged(at.Key(), found.Modified)},
			Then:  []store.Op{store.Put(at.Key(), store.Encode(rec))},
			Else:  []store.Op{store.Get(at.Key())},
		})
		if err != nil {
			return err
		}
		a.learn(at, true, res.Revision)
		if res.Done {
			return nil
		}
		found, _ = res.Item(at.Key())
	}
}

// reservation reads a record to be shared. A lease cannot be: its holder is
// named. Nor can what rests after an eviction: the node it was taken from may
// come back for it, and the rest would end with the network.
func (a *Allocator) reservation(ctx context.Context, at pool.Place, found store.Item) (store.Lease, error) {
	rec := store.Lease{State: store.Reserved, Since: a.Now().Unix()}
	if found.Created == 0 {
		return rec, nil
	}
	rec, err := store.Decode[store.Lease](found)
	switch {
	case err != nil:
		return rec, err
	case rec.State == store.Leased:
		return rec, fmt.Errorf("address %s cannot be reserved for the network: it is %s", at.Addr, a.heldBy(ctx, rec.Node, rec.Endpoint))
	case rec.State == store.Quarantined:
		return rec, fmt.Errorf("address %s cannot be reserved for the network: it has rested since %s, when node %s, which used it, was evicted: give another one, or try again in some minutes",
			at.Addr, time.Unix(rec.Since, 0).UTC().Format(time.TimeOnly+" MST"), a.hostOf(ctx, rec.Node))
	}
	return rec, nil
}

// unreserve takes the pool's name out of a reservation, and the reservation
// away with the last name. With a uuid it does so only where that definition
// has put its own name in.
func (a *Allocator) unreserve(ctx context.Context, p opened, addr netip.Addr, uuid string) error {
	at := pool.At(p.parsed().Segment, addr)
	gone, err := a.takeName(ctx, at, p.by(a.Self.Node()), uuid)
	if err != nil || !gone {
		return err
	}
	return a.ledger.changePool(p.ID, func(p *opened) {
		p.Owed = without(p.Owed, addr)
		if uuid == "" {
			p.drop(addr)
		}
	})
}

// drop forgets that an address is reserved for the pool.
func (p *opened) drop(addr netip.Addr) {
	p.Extra = without(p.Extra, addr)
	if p.Gateway == addr {
		p.Gateway, p.Asked = netip.Addr{}, false
	}
}

// without returns a copy: pools are copied freely and share their slices.
func without(addrs []netip.Addr, addr netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(o netip.Addr) bool { return o == addr })
}

// takeName takes one name out of a reservation. Gone tells that it is not in
// there any more.
func (a *Allocator) takeName(ctx context.Context, at pool.Place, name, uuid string) (gone bool, err error) {
	for {
		it, err := a.read(ctx, at.Key())
		if err != nil {
			return false, err
		}
		if it.Created == 0 {
			return true, nil
		}
		rec, err := store.Decode[store.Lease](it)
		if err != nil {
			return false, err
		}
		if rec.State != store.Reserved || !slices.Contains(rec.By, name) {
			return true, nil
		}
		if uuid != "" && !slices.Contains(rec.By, uuid) {
			return false, nil
		}
		cond, op := withoutName(it, rec, name)
		res, err := a.commit(ctx, store.Txn{If: []store.Cond{cond}, Then: []store.Op{op}})
		if err != nil {
			return false, err
		}
		if res.Done {
			a.learn(at, op.Kind == store.OpPut, res.Revision)
			return true, nil
		}
	}
}

// withoutName is the step that takes one name out of a reservation.
func withoutName(it store.Item, rec store.Lease, name string) (store.Cond, store.Op) {
	rec.By = slices.DeleteFunc(slices.Clone(rec.By), func(by string) bool { return by == name })
	if len(rec.By) == 0 {
		return store.Unchanged(it.Key, it.Modified), store.Delete(it.Key)
	}
	return store.Unchanged(it.Key, it.Modified), store.Put(it.Key, store.Encode(rec))
}
