package ipam

import (
	"context"
	"errors"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// compare brings this node's leases and the store's records of them
// together after a start or an outage: everything the store holds under
// this node's name is listed, and each place where the two differ is
// reconciled.
func (a *Allocator) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	items, _, err := a.list(ctx, store.AllLeasesSpan())
	if err != nil {
		return err
	}
	subnets, _, err := a.list(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return err
	}
	for _, it := range subnets {
		if rec, err := store.Decode[store.DefaultPool](it); err == nil {
			a.findStrayDefault(rec)
		}
	}
	there := map[pool.Place]string{} // nonce of the record under this node's name
	for _, it := range items {
		if !a.namesThisNode(it) {
			continue
		}
		segment, addr, err := store.LeaseOf(it.Key)
		rec, bad := store.Decode[store.Lease](it)
		if err != nil || bad != nil {
			a.Log.Error("a lease cannot be read", "key", it.Key, "err", errors.Join(err, bad))
			continue
		}
		if rec.State == store.Leased && rec.Node == a.Self.Node() {
			there[pool.At(segment, addr)] = rec.Nonce
		}
		a.findStray(pool.At(segment, addr), rec)
	}
	for at, nonce := range there {
		if l, ok := a.ledger.lease(at); !ok || l.Nonce != nonce || l.Doubt && l.State != releasing {
			a.suspect.add(at)
		}
	}
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return there[l.place()] != l.Nonce }) {
		a.suspect.add(l.place())
	}
	return nil
}

// findStray notes a reservation of this node for a pool its journal does not
// know.
func (a *Allocator) findStray(at pool.Place, rec store.Lease) {
	if rec.State != store.Reserved {
		return
	}
	for _, name := range rec.By {
		nonce, ours := strings.CutSuffix(strings.TrimPrefix(name, "pool:"), "@"+a.Self.Node())
		if ours && !a.ledger.knew(nonce) {
			a.strays.add(Held{Kind: HeldStray, Segment: at.Segment, Address: at.Addr, Nonce: nonce})
		}
	}
}

// reconcile makes the ledger and the store agree about one place. It
// returns the conflict if somebody else has an address that a container of
// this node uses.
func (a *Allocator) reconcile(ctx context.Context, at pool.Place) (*Conflict, error) {
	release, err := a.ledger.hold(ctx, at)
	if err != nil {
		return nil, err
	}
	defer release()
	it, err := a.read(ctx, at.Key())
	if err != nil {
		return nil, err
	}
	rec := store.Lease{}
	if it.Created != 0 {
		if rec, err = store.Decode[store.Lease](it); err != nil {
			return nil, err
		}
	}
	own := rec.State == store.Leased && rec.Node == a.Self.Node()
	l, known := a.ledger.lease(at)
	switch {
	case !known && own:
		return nil, a.ledger.keep(a.adopted(at, it, rec))
	case !known:
		return nil, nil
	case own && (rec.Nonce == l.Nonce || l.State == bound):
		l.Nonce, l.Created = rec.Nonce, it.Created
		l.Doubt = l.Doubt && l.State == releasing // what an earlier epoch sent cannot happen any more
		return nil, a.ledger.keep(l)
	case own:
		return nil, a.ledger.keep(a.adopted(at, it, rec))
	case l.State == given && !l.Doubt && it.Created == 0:
		return a.assert(ctx, l) // another driver's network never binds what it uses
	case l.State != bound:
		return nil, a.ledger.forget(l)
	case it.Created == 0:
		return a.assert(ctx, l)
	case a.resting(rec) || vacated(l, it, rec):
		if done, err := a.retake(ctx, l, it, rec); err != nil || done {
			return nil, err
		}
		return a.assert(ctx, l)
	}
	return a.conflict(ctx, l, rec), nil
}

// adopted is a lease rebuilt from its record.
func (a *Allocator) adopted(at pool.Place, it store.Item, rec store.Lease) lease {
	l := lease{
		Segment:  at.Segment,
		Address:  at.Addr,
		Nonce:    rec.Nonce,
		Created:  it.Created,
		Kind:     rec.Kind,
		Since:    rec.Since,
		State:    given,
		Endpoint: rec.Endpoint,
		Claimed:  rec.Claims != nil,
	}
	if n, ok := a.ledger.networkOf(rec.Network); ok {
		l.Network = n.ID
	} else if id, ok := strings.CutPrefix(rec.Network, "engine:"); ok {
		l.Network = id
	}
	if rec.Endpoint != "" {
		l.State = bound
	}
	if e, ok := a.ledger.endpoint(rec.Endpoint); ok && e.State == closing {
		l.State = unbound
	}
	return l
}

// assert writes a live lease again where it is absent.
func (a *Allocator) assert(ctx context.Context, l lease) (*Conflict, error) {
	found, won, err := a.put(ctx, l, false)
	if won {
		a.Log.Warn("a lease of this node had vanished from the store: made again", "address", l.Address, "segment", l.Segment, "endpoint", short(l.Endpoint))
	}
	if err != nil || won {
		return nil, err
	}
	rec, err := store.Decode[store.Lease](found)
	if err != nil {
		return nil, err
	}
	if l.State != bound {
		a.Log.Error("an address that was given on this node has another holder", "address", l.Address, "holder", a.holderOf(ctx, l.Address, rec))
		return nil, a.ledger.forget(l)
	}
	return a.conflict(ctx, l, rec), nil
}

// Reassert writes every live lease of this node, the records of their
// endpoints, and what is reserved for its networks again where they are
// absent: the store lost its past and this node has not. It returns the
// addresses of its endpoints that somebody else has by now.
func (a *Allocator) Reassert(ctx context.Context) ([]Conflict, error) {
	var found []Conflict
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return l.State != releasing }) {
		c, err := a.reassertOne(ctx, l)
		if err != nil {
			return found, err
		}
		if c != nil {
			found = append(found, *c)
		}
	}
	for _, e := range a.ledger.endpointsWhere(func(e endpoint) bool { return e.State == written }) {
		if err := a.restoreEndpoint(ctx, e.Record.Endpoint); err != nil {
			return found, err
		}
	}
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return !p.Closed }) {
		if err := a.reassertPool(ctx, p); err != nil {
			return found, err
		}
	}
	return found, nil
}

// reassertPool writes what is reserved for a pool again where it is absent.
func (a *Allocator) reassertPool(ctx context.Context, p opened) error {
	for _, addr := range p.reserved() {
		if err := a.restoreReservation(ctx, pool.At(p.parsed().Segment, addr)); err != nil {
			return err
		}
	}
	return a.restoreDefault(ctx, p.ID)
}

func (a *Allocator) reassertOne(ctx context.Context, was lease) (*Conflict, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	if was.State != bound {
		release, err := a.ledger.hold(ctx, was.place())
		if err != nil {
			return nil, err
		}
		defer release()
		if l, ok := a.ledger.lease(was.place()); ok && l == was {
			return a.assert(ctx, l)
		}
		return nil, nil
	}
	return a.reconcile(ctx, was.place())
}
