package ipam

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// What this node holds must stand in the store as long as it does: its leases,
// its endpoints' records, and what is reserved for its networks. A record that
// is gone though nobody here gave it up (a key deleted by hand, a store that
// lost it) frees an address that is in use. Every deletion of such a record,
// and every list, is compared with the ledger: what is absent is written again,
// and what is somebody else's by now is a conflict.

// missing are things whose record Run will compare with the ledger.
type missing struct {
	places    suspects[pool.Place] // of leases and reservations
	endpoints suspects[string]     // by id
	defaults  suspects[string]     // default subnets, by PoolID
}

// vanished compares what a change of a subnet's mirror shows gone.
func (a *Allocator) vanished(m *mirror.Mirror, c store.Change, gone []mirror.Gone) {
	for _, g := range gone {
		a.missAt(pool.At(m.Segment, g.Addr), g.At)
	}
	if !c.Reset {
		return
	}
	there := map[pool.Place]store.Item{}
	for _, it := range c.Items {
		if segment, addr, err := store.LeaseOf(it.Key); err == nil {
			there[pool.At(segment, addr)] = it
		}
	}
	inside := func(at pool.Place) bool { return at.Segment == m.Segment && m.Subnet.Contains(at.Addr) }
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return inside(l.place()) }) {
		if _, ok := there[l.place()]; !ok { // who else has it is seen by compareNews
			a.missAt(l.place(), c.Revision)
		}
	}
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return !p.Closed }) {
		for _, addr := range p.reserved() {
			at := pool.At(p.parsed().Segment, addr)
			if rec, err := store.Decode[store.Lease](there[at]); inside(at) && (err != nil || rec.State != store.Reserved) {
				a.missAt(at, c.Revision)
			}
		}
	}
}

// missAt has a place looked at whose record was not there at a revision, if
// it should be.
func (a *Allocator) missAt(at pool.Place, rev store.Revision) {
	l, leased := a.ledger.lease(at)
	if _, reserved := a.ledger.reservedAt(at); !reserved && (!leased || l.Created > rev) {
		return
	}
	a.missing.places.add(at)
	a.wake()
}

// missStranger has a place looked at where somebody else's record stands in
// the place of this node's.
func (a *Allocator) missStranger(at pool.Place, it store.Item) {
	if l, ok := a.ledger.lease(at); ok && l.Created < it.Modified {
		a.missing.places.add(at)
		a.wake()
	}
}

// followOwn compares this node's endpoint records and default subnets, which
// no mirror of addresses holds, until ctx ends.
func (a *Allocator) followOwn(ctx context.Context) {
	a.followKeys(ctx, store.NodeEndpointsSpan(a.Self.Node()), &a.missing.endpoints, func() map[string]string {
		ids := map[string]string{}
		for _, e := range a.ledger.endpointsWhere(func(e endpoint) bool { return e.State == written }) {
			ids[store.EndpointKey(a.Self.Node(), e.Record.Endpoint)] = e.Record.Endpoint
		}
		return ids
	})
	a.followKeys(ctx, store.DefaultPoolsSpan(), &a.missing.defaults, func() map[string]string {
		ids := map[string]string{}
		for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.Default && !p.Closed }) {
			ids[store.DefaultPoolKey(p.parsed().Subnet)] = p.ID
		}
		return ids
	})
}

// followKeys notes which of the keys that own names vanish from a span.
func (a *Allocator) followKeys(ctx context.Context, span store.Span, found *suspects[string], own func() map[string]string) {
	a.mirrors.Work.Go(func() {
		err := store.Follow(ctx, a.KV, span, func(c store.Change) {
			gone := c.Reset
			for _, e := range c.Events {
				gone = gone || e.Deleted
			}
			if !gone {
				return
			}
			for key, id := range own() {
				deleted := func(e store.Event) bool { return e.Deleted && e.Item.Key == key }
				absent := c.Reset && !slices.ContainsFunc(c.Items, func(it store.Item) bool { return it.Key == key })
				if absent || slices.ContainsFunc(c.Events, deleted) {
					found.add(id)
					a.wake()
				}
			}
		})
		if err != nil {
			a.Log.Error("records of this node that vanish are noticed at its next start only", "span", span.From, "err", err)
		}
	})
}

// restoreMissing writes again what is found to be gone. It ends at the first
// call that is not answered.
func (a *Allocator) restoreMissing(ctx context.Context) {
	restoreEach(a, ctx, &a.missing.places, a.restorePlace)
	restoreEach(a, ctx, &a.missing.endpoints, a.restoreEndpoint)
	restoreEach(a, ctx, &a.missing.defaults, a.restoreDefault)
}

func restoreEach[K comparable](a *Allocator, ctx context.Context, found *suspects[K], restore func(context.Context, K) error) {
	away := false
	for _, k := range found.drain() {
		if away {
			found.add(k)
			continue
		}
		if err := restore(ctx, k); err != nil {
			found.add(k)
			away = errors.Is(err, store.ErrUnavailable)
			a.Log.Warn("a record of this node that vanished from the store is looked at again", "of", k, "err", err)
		}
	}
}

// restorePlace compares one address. One that a call is about is looked at
// after it.
func (a *Allocator) restorePlace(ctx context.Context, at pool.Place) error {
	if a.ledger.isBusy(at) {
		a.missing.places.add(at)
		return nil
	}
	if _, leased := a.ledger.lease(at); leased {
		if _, err := a.reconcile(ctx, at); err != nil {
			return err
		}
	}
	return a.restoreReservation(ctx, at)
}

// restoreReservation makes an absent reservation of this node's networks
// again. It names the definition where the store has it. Where it does not,
// the pool is named until it does (see settlePool): the definition is lost as
// well, and its commit comes later.
func (a *Allocator) restoreReservation(ctx context.Context, at pool.Place) error {
	release, err := a.ledger.hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	for {
		p, reserved := a.ledger.reservedAt(at)
		if !reserved {
			return nil
		}
		name, conds, err := a.reserver(ctx, p)
		if err != nil || name == "" {
			return err
		}
		if len(conds) == 0 {
			if err := a.owe(p, at.Addr); err != nil {
				return err
			}
		}
		res, err := a.commit(ctx, store.Txn{
			If:   append(conds, store.Absent(at.Key())),
			Then: []store.Op{store.Put(at.Key(), store.Encode(store.Lease{State: store.Reserved, Since: a.Now().Unix(), By: []string{name}}))},
			Else: []store.Op{store.Get(at.Key())},
		})
		if err != nil {
			return err
		}
		if it, found := res.Item(at.Key()); found {
			rec, err := store.Decode[store.Lease](it)
			if err == nil && rec.State != store.Reserved {
				a.reservationConflict(ctx, at, p, rec)
			}
			return err
		}
		if !res.Done {
			continue // the definition changed
		}
		a.learn(at, true, res.Revision)
		a.Log.Warn("a reservation of a network on this node had vanished from the store: made again", "address", at.Addr, "segment", at.Segment)
		return a.settleRestored(ctx, p, at)
	}
}

// reserver is whose name a pool's reservations carry, with what must still
// hold when it is written; "" for nobody's: the definition was removed, and the
// network here is about to be.
func (a *Allocator) reserver(ctx context.Context, p opened) (string, []store.Cond, error) {
	n, _ := a.ledger.network(p.Network)
	if n.UUID == "" {
		return p.by(a.Self.Node()), nil, nil
	}
	it, err := a.read(ctx, store.NetworkKey(n.Name))
	if err != nil {
		return "", nil, err
	}
	if def, err := store.Decode[store.Network](it); it.Created == 0 || err != nil || def.UUID != n.UUID {
		grave, err := a.read(ctx, store.TombstoneKey(n.UUID))
		if err != nil || grave.Created != 0 {
			return "", nil, err
		}
		return p.by(a.Self.Node()), nil, nil
	}
	return n.UUID, []store.Cond{store.Unchanged(it.Key, it.Modified)}, nil
}

// owe notes that a reservation carries the pool's own name, before it does.
func (a *Allocator) owe(p opened, addr netip.Addr) error {
	if slices.Contains(p.Owed, addr) {
		return nil
	}
	return a.ledger.changePool(p.ID, func(p *opened) {
		if !slices.Contains(p.Owed, addr) {
			p.Owed = append(slices.Clone(p.Owed), addr)
		}
	})
}

// settleRestored takes a reservation back whose pool was closed while it was
// made: closing it may have found nothing to give back.
func (a *Allocator) settleRestored(ctx context.Context, p opened, at pool.Place) error {
	if now, ok := a.ledger.pool(p.ID); ok && !now.Closed {
		return nil
	}
	_, err := a.takeName(ctx, at, p.by(a.Self.Node()), "")
	return err
}

// restoreEndpoint makes an endpoint's record again where it is absent, as it
// was bound, with what holds its MAC address; the driver adds what it has learned since.
func (a *Allocator) restoreEndpoint(ctx context.Context, id string) error {
	e, ok := a.ledger.endpoint(id)
	if !ok || e.State != written {
		return nil
	}
	key := store.EndpointKey(a.Self.Node(), id)
	then := []store.Op{store.Put(key, store.Encode(e.Record))}
	if a.isGiven(e.Record) { // its MAC address is held by a record of its own
		claim := store.MACKey(e.Record.Segment, e.Record.MAC)
		then = append(then, store.Op{Kind: store.OpNested, Nested: &store.Txn{
			If:   []store.Cond{store.Absent(claim)},
			Then: []store.Op{store.Put(claim, store.Encode(a.macRecord(e.Record)))},
		}})
	}
	res, err := a.commit(ctx, store.Txn{If: []store.Cond{store.Absent(key)}, Then: then})
	if err != nil || !res.Done {
		return err
	}
	if now, ok := a.ledger.endpoint(id); !ok || now.State == closing {
		return a.closeEndpoint(ctx, e) // it was deleted meanwhile
	}
	a.Log.Warn("the record of an endpoint on this node had vanished from the store: made again", "endpoint", short(id))
	if a.Endpoints != nil {
		a.Endpoints.Restored(id)
	}
	return nil
}

// restoreDefault makes the record of a default subnet again.
func (a *Allocator) restoreDefault(ctx context.Context, id string) error {
	p, ok := a.ledger.pool(id)
	if !ok || p.Closed || !p.Default {
		return nil
	}
	name, conds, err := a.reserver(ctx, p)
	if err != nil || name == "" {
		return err
	}
	key := store.DefaultPoolKey(p.parsed().Subnet)
	rec := store.DefaultPool{Subnet: p.parsed().Subnet.String(), Node: a.Self.Node(), Nonce: p.parsed().Nonce}
	if len(conds) > 0 {
		rec = store.DefaultPool{Subnet: rec.Subnet, By: []string{name}}
	}
	res, err := a.commit(ctx, store.Txn{
		If:   append(conds, store.Absent(key)),
		Then: []store.Op{store.Put(key, store.Encode(rec))},
		Else: []store.Op{store.Get(key)},
	})
	if err != nil {
		return err
	}
	if _, there := res.Item(key); !res.Done && !there {
		return a.restoreDefault(ctx, id) // the definition changed
	}
	if now, ok := a.ledger.pool(id); !ok || now.Closed {
		return a.giveDefault(ctx, p.parsed())
	}
	return nil
}
