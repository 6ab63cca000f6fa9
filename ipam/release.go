package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// ReleaseAddress takes an address back. It is free in the store when it
// returns, or, when the store does not answer, in the journal and soon
// after. Docker ignores the error of a release and never asks again, so
// there is one only when the journal fails.
//
// Not every release is one: that of a bound address whose endpoint was not
// deleted first is Docker's rollback of somebody else's request; that of a
// gateway or aux address follows from removing a replica.
func (a *Allocator) ReleaseAddress(ctx context.Context, poolID, address string) error {
	id, err := pool.ParseID(poolID)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return fmt.Errorf("release address %q: %w", address, err)
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	at := pool.At(id.Segment, addr.Unmap())
	release, err := a.ledger.hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	if p, ok := a.ledger.pool(poolID); ok && p.byManager() {
		return a.releaseClaim(ctx, at)
	}
	l, own := a.ledger.lease(at)
	if !own {
		return a.releaseReserved(ctx, poolID, at)
	}
	switch l.State {
	case bound:
		a.Log.Info("release of a bound address is none: its endpoint was not deleted", "address", addr, "endpoint", short(l.Endpoint))
		return nil
	case releasing:
		a.wake()
		return nil
	}
	return a.giveUp(ctx, l)
}

// releaseReserved gives back what a pool without a network reserved: its
// create failed, or it is another driver's. A network's own reservations
// stay until its definition is gone.
func (a *Allocator) releaseReserved(ctx context.Context, poolID string, at pool.Place) error {
	p, ok := a.ledger.pool(poolID)
	if !ok || p.joined() {
		return nil
	}
	if err := a.unreserve(ctx, p, at.Addr, ""); err != nil {
		a.Log.Warn("a reservation is given back later", "address", at.Addr, "err", err)
		return nil // the pool still owes it
	}
	return nil
}

// giveUp releases a lease: in the store at once, else in the journal. A
// store that did not answer the last call is asked a question first: what
// was not sent to it is certain to be still this node's (see reissue.go).
// The caller holds the place.
func (a *Allocator) giveUp(ctx context.Context, l lease) error {
	if a.Self.Trusted() != nil || !a.answers(ctx) {
		return a.postpone(l)
	}
	err := a.discharge(ctx, l)
	if err == nil {
		return nil
	}
	a.Log.Warn("a release is written later", "address", l.Address, "err", err)
	return a.postponeInDoubt(l)
}

// answers tells whether the store answered the last call, or does now.
func (a *Allocator) answers(ctx context.Context) bool {
	if !a.away.Load() {
		return true
	}
	_, err := a.read(ctx, store.MetaKey())
	return err == nil
}

// postpone leaves a release to Run.
func (a *Allocator) postpone(l lease) error {
	l.State = releasing
	defer a.wake()
	return a.ledger.keep(l)
}

// postponeInDoubt is postpone for a release that was sent: it may have landed
// unseen, and somebody else may have the address.
func (a *Allocator) postponeInDoubt(l lease) error {
	l.Doubt = true
	return a.postpone(l)
}

// discharge deletes a lease's key, and with it the record of the endpoint that
// had it: a name must not outlive the right to its address. Only the life of
// the key that this lease began is deleted: after an eviction another node may
// have the address. The caller holds the place.
func (a *Allocator) discharge(ctx context.Context, l lease) error {
	if l.Claimed {
		return a.dischargeClaim(ctx, l)
	}
	key := l.place().Key()
	if l.Created == 0 {
		it, err := a.read(ctx, key)
		if err != nil {
			return err
		}
		if l.Created = createdUnder(it, l.Nonce); l.Created == 0 {
			return a.ledger.forget(l)
		}
	}
	if l.State == releasing && !l.Doubt {
		l.Doubt = true
		if err := a.ledger.keep(l); err != nil {
			return err
		}
	}
	res, err := a.deleteLease(ctx, l)
	if err != nil {
		return err
	}
	_, other := res.Item(key)
	a.learn(l.place(), other, res.Revision)
	return a.ledger.forget(l)
}

// deleteLease deletes a lease's key and its endpoint's record. A lease that
// names no endpoint may have one in the store: the agent died before it could
// note what it had bound. So only the record as it was made is deleted then,
// and what stands there instead says which endpoint it is.
func (a *Allocator) deleteLease(ctx context.Context, l lease) (store.Result, error) {
	key := l.place().Key()
	cond, then := store.SameLife(key, l.Created), a.deletions(key, l.Endpoint)
	if l.Endpoint == "" {
		cond = store.Unchanged(key, l.Created)
	}
	for {
		res, err := a.commit(ctx, store.Txn{If: []store.Cond{cond}, Then: then, Else: []store.Op{store.Get(key)}})
		if err != nil || res.Done {
			return res, err
		}
		it, there := res.Item(key)
		if !there || it.Created != l.Created {
			return res, nil // another life
		}
		rec, err := store.Decode[store.Lease](it)
		if err != nil {
			return res, err
		}
		cond, then = store.Unchanged(key, it.Modified), a.deletions(key, rec.Endpoint)
	}
}

// deletions are the steps that delete a lease and the record of its endpoint;
// "" for none.
func (a *Allocator) deletions(key, endpoint string) []store.Op {
	ops := []store.Op{store.Delete(key)}
	if endpoint != "" {
		ops = append(ops, store.Delete(store.EndpointKey(a.Self.Node(), endpoint)))
	}
	return ops
}

// createdUnder returns when a key came into being if its lease carries the
// nonce, else 0.
func createdUnder(it store.Item, nonce string) store.Revision {
	rec, err := store.Decode[store.Lease](it)
	if it.Created == 0 || err != nil || rec.Nonce != nonce {
		return 0
	}
	return it.Created
}

// Free releases everything a dead endpoint has, without waiting for Docker
// to say so: the reconcile loop found it dead. It fails only when the
// journal does; with the store away the releases are written later.
func (a *Allocator) Free(ctx context.Context, endpoint string) error {
	if err := a.Unbind(ctx, endpoint); err != nil {
		return err
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	var errs []error
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return l.Endpoint == endpoint && l.State == unbound }) {
		errs = append(errs, a.freeOne(ctx, l))
	}
	return errors.Join(errs...)
}

func (a *Allocator) freeOne(ctx context.Context, was lease) error {
	release, err := a.ledger.hold(ctx, was.place())
	if err != nil {
		return err
	}
	defer release()
	l, ok := a.ledger.lease(was.place())
	if !ok || l.Nonce != was.Nonce || l.State != unbound {
		return nil
	}
	if a.away.Load() {
		return a.postpone(l) // many may be dead at once, and a handler may wait
	}
	return a.giveUp(ctx, l)
}

// Pending counts the releases that etcd has not taken yet.
func (a *Allocator) Pending() int {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	pending := 0
	for _, l := range a.ledger.leases {
		if l.State == releasing {
			pending++
		}
	}
	return pending
}
