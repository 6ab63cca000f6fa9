package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// ReserveFor returns what must go into the transaction that commits a
// definition: its uuid into every reservation of the network's pools, in
// place of the pool's own name, and into the record of each default subnet.
// A gateway or aux address that a container has fails it, naming the holder.
// When the transaction finds the conditions broken, ask again.
func (a *Allocator) ReserveFor(ctx context.Context, uuid, network string) ([]store.Cond, []store.Op, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	var conds []store.Cond
	var ops []store.Op
	done := map[string]bool{} // by key: two pools may share an address
	add := func(key string, step func(string) (store.Cond, store.Op, error)) error {
		if done[key] {
			return nil
		}
		done[key] = true
		cond, op, err := step(key)
		conds, ops = append(conds, cond), append(ops, op)
		return err
	}
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.Network == network && !p.Closed }) {
		for _, addr := range p.reserved() {
			at := pool.At(p.parsed().Segment, addr)
			err := add(at.Key(), func(string) (store.Cond, store.Op, error) {
				return a.nameReservation(ctx, at, p.by(a.Self.Node()), uuid)
			})
			if err != nil {
				return nil, nil, err
			}
		}
		if !p.Default {
			continue
		}
		err := add(store.DefaultPoolKey(p.parsed().Subnet), func(key string) (store.Cond, store.Op, error) {
			return a.nameDefault(ctx, key, p.parsed().Subnet, uuid)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return conds, ops, nil
}

// nameReservation is the step that puts a uuid into a reservation, in place
// of a pool's name.
func (a *Allocator) nameReservation(ctx context.Context, at pool.Place, pool, uuid string) (store.Cond, store.Op, error) {
	it, err := a.read(ctx, at.Key())
	if err != nil {
		return store.Cond{}, store.Op{}, fmt.Errorf("reserve address %s: %w", at.Addr, err)
	}
	rec, err := a.reservation(ctx, at, it)
	if err != nil {
		return store.Cond{}, store.Op{}, err
	}
	rec.By = slices.DeleteFunc(rec.By, func(by string) bool { return by == pool || by == uuid })
	rec.By = append(rec.By, uuid)
	return store.Unchanged(at.Key(), it.Modified), store.Put(at.Key(), store.Encode(rec)), nil
}

// nameDefault is the step that puts a uuid into the record of a default
// subnet.
func (a *Allocator) nameDefault(ctx context.Context, key string, subnet netip.Prefix, uuid string) (store.Cond, store.Op, error) {
	it, err := a.read(ctx, key)
	if err != nil {
		return store.Cond{}, store.Op{}, fmt.Errorf("reserve subnet %s: %w", subnet, err)
	}
	rec := store.DefaultPool{Subnet: subnet.String()}
	if it.Created != 0 {
		if rec, err = store.Decode[store.DefaultPool](it); err != nil {
			return store.Cond{}, store.Op{}, err
		}
	}
	rec.Node, rec.Nonce = "", ""
	if !slices.Contains(rec.By, uuid) {
		rec.By = append(rec.By, uuid)
	}
	return store.Unchanged(key, it.Modified), store.Put(key, store.Encode(rec)), nil
}

// UnreserveFor returns what must go into the transaction that deletes a
// definition: its uuid out of every reservation that has it. They are found
// by reading the definition's subnets, because an engine before 28 reserves
// a gateway also where the definition has none.
func (a *Allocator) UnreserveFor(ctx context.Context, n store.Network) ([]store.Cond, []store.Op, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	var conds []store.Cond
	var ops []store.Op
	done := map[string]bool{}
	for _, p := range n.Created.Pools {
		items, _, err := a.list(ctx, store.LeasesSpan(n.Created.Segment, p.Subnet))
		if err != nil {
			return nil, nil, fmt.Errorf("read the reservations of network %s: %w", n.Name, err)
		}
		for _, it := range items {
			rec, err := store.Decode[store.Lease](it)
			if err != nil {
				return nil, nil, err
			}
			if done[it.Key] || rec.State != store.Reserved || !slices.Contains(rec.By, n.UUID) {
				continue
			}
			done[it.Key] = true
			cond, op := withoutName(it, rec, n.UUID)
			conds, ops = append(conds, cond), append(ops, op)
		}
		cond, op, found, err := a.unnameDefault(ctx, p.Subnet, n.UUID)
		if err != nil {
			return nil, nil, err
		}
		if found && !done[op.Key] {
			done[op.Key] = true
			conds, ops = append(conds, cond), append(ops, op)
		}
	}
	return conds, ops, nil
}

// unnameDefault is the step that takes a uuid out of the record of a default
// subnet, when it is one.
func (a *Allocator) unnameDefault(ctx context.Context, subnet netip.Prefix, uuid string) (store.Cond, store.Op, bool, error) {
	key := store.DefaultPoolKey(subnet)
	it, err := a.read(ctx, key)
	if err != nil || it.Created == 0 {
		return store.Cond{}, store.Op{}, false, err
	}
	rec, err := store.Decode[store.DefaultPool](it)
	if err != nil || !slices.Contains(rec.By, uuid) {
		return store.Cond{}, store.Op{}, false, err
	}
	rec.By = slices.DeleteFunc(rec.By, func(by string) bool { return by == uuid })
	op := store.Put(key, store.Encode(rec))
	if len(rec.By) == 0 && rec.Node == "" {
		op = store.Delete(key)
	}
	return store.Unchanged(key, it.Modified), op, true, nil
}
