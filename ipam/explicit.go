package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// leaseThis gives an explicit address, by the state of its record:
//
//   - free: it is leased;
//   - given to this network and not bound yet: the same answer again;
//   - bound to an endpoint of this node: refused, unless that endpoint is
//     dead, which is then closed first;
//   - anything else: refused, naming the holder.
//
// Refusing here and not later is what keeps a living container's lease:
// Docker releases an address it was given when the endpoint then fails, and
// that release is byte for byte the true holder's own.
func (a *Allocator) leaseThis(ctx context.Context, p opened, addr netip.Addr) (netip.Prefix, error) {
	at := pool.At(p.parsed().Segment, addr)
	if err := a.checkGiven(ctx, p, at); err != nil {
		return netip.Prefix{}, err
	}
	granted := netip.PrefixFrom(addr, p.parsed().Subnet.Bits())
	for tries := 0; ; tries++ {
		holder, err := a.tryThis(ctx, p, at)
		if err != nil {
			return netip.Prefix{}, err
		}
		if holder == "" {
			return granted, nil
		}
		closed, err := a.closeDead(ctx, holder)
		if err != nil || !closed || tries == 2 {
			return netip.Prefix{}, errors.Join(a.heldError(ctx, at, a.Self.Node(), holder), err)
		}
	}
}

// checkGiven refuses what the network keeps to itself. What a reservation says
// is told before that the address is excluded: it may be both, a gateway that
// is a host's own address.
func (a *Allocator) checkGiven(ctx context.Context, p opened, at pool.Place) error {
	n, _ := a.ledger.network(p.Network)
	v, err := viewOf(p, n)
	if err != nil {
		return err
	}
	hosts := a.checkHosts(ctx, at.Addr)
	if hosts == nil && !v.excluded.Has(at.Addr) {
		return nil
	}
	if rec, ok := a.reserved(ctx, at); ok {
		return a.takenError(ctx, at, rec)
	}
	if hosts != nil {
		return hosts
	}
	return fmt.Errorf("address %s is excluded from %s: give another one", at.Addr, n.title())
}

// reserved reads the record of an address that is reserved. A store that
// does not answer knows none: the words are all that depend on it.
func (a *Allocator) reserved(ctx context.Context, at pool.Place) (store.Lease, bool) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	it, err := a.read(ctx, at.Key())
	if err != nil || it.Created == 0 {
		return store.Lease{}, false
	}
	rec, err := store.Decode[store.Lease](it)
	return rec, err == nil && rec.State == store.Reserved
}

func (a *Allocator) closeDead(ctx context.Context, endpoint string) (bool, error) {
	if a.Endpoints == nil {
		return false, nil
	}
	return a.Endpoints.CloseDead(ctx, endpoint)
}

// tryThis returns the endpoint of this node that the address is bound to, ""
// when the address was given.
func (a *Allocator) tryThis(call context.Context, p opened, at pool.Place) (holder string, err error) {
	ctx, cancel := a.bounded(call)
	defer cancel()
	release, err := a.ledger.hold(ctx, at)
	if err != nil {
		return "", err
	}
	defer release()
	if l, own := a.ledger.lease(at); own {
		return a.tryOwn(ctx, call, p, l)
	}
	return a.tryFree(ctx, call, p, at)
}

// tryOwn is tryThis for an address this node has a lease of. ctx is what of
// Docker's call is for the store.
func (a *Allocator) tryOwn(ctx, call context.Context, p opened, l lease) (holder string, err error) {
	switch l.State {
	case bound:
		return l.Endpoint, nil
	case given:
		return "", a.giveSame(p, l)
	}
	return a.takeBack(ctx, call, p, l)
}

// takeBack gives an address again whose endpoint is gone: freed and taken anew
// where the store answers, else from the journal. A release is only sent to a
// store that answers, since afterwards the journal alone may not give it.
func (a *Allocator) takeBack(ctx, call context.Context, p opened, l lease) (holder string, err error) {
	err = a.distrust()
	if err == nil && !a.answers(ctx) {
		err = a.unanswered(store.ErrUnavailable)
	}
	if errors.Is(err, store.ErrUnavailable) && a.reissuable(l, p) && len(a.stillOurs(call, p.Network, []lease{l})) == 1 {
		return "", a.reissue(l, p)
	}
	if err != nil {
		return "", err
	}
	if err := a.discharge(ctx, l); err != nil {
		return "", errors.Join(a.unanswered(err), a.postponeInDoubt(l))
	}
	return a.tryFree(ctx, call, p, l.place())
}

// giveSame gives an address again that was given and is not bound yet, to the
// network it was given to or the one that took its place. Another driver's
// network never binds: there it may be in use.
func (a *Allocator) giveSame(p opened, l lease) error {
	switch {
	case !p.joined():
	case l.Network == p.Network && l.Pool == p.ID:
		return nil
	case l.Network == p.Network || a.ledger.sameDefinition(l.Network, p.Network):
		l.Network, l.Pool = p.Network, p.ID
		return a.ledger.keep(l)
	}
	return fmt.Errorf("address %s is being given to another container on this node", l.Address)
}

// tryFree is tryThis for an address this node has no lease of.
func (a *Allocator) tryFree(ctx, call context.Context, p opened, at pool.Place) (holder string, err error) {
	if err := a.distrust(); err != nil {
		return "", err
	}
	if err := a.checkSilent(ctx, p, at); err != nil {
		return "", err
	}
	l, err := a.newLease(at, p, store.Static)
	if err != nil {
		return "", err
	}
	found, won, err := a.take(ctx, l)
	if err != nil || won {
		return "", err
	}
	rec, err := store.Decode[store.Lease](found)
	if err != nil {
		return "", err
	}
	if rec.State == store.Leased && rec.Node == a.Self.Node() {
		// The journal was lost, or a transaction given up landed late.
		l := a.adopted(at, found, rec)
		if err := a.ledger.keep(l); err != nil {
			return "", err
		}
		return a.tryOwn(ctx, call, p, l)
	}
	if p.byWorker() && rec.Claims != nil {
		return a.takeClaimed(ctx, l, found, rec)
	}
	return "", a.takenError(ctx, at, rec)
}
