package ipam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// reservations are the addresses and default subnets that networks keep.
type reservations struct {
	*node.Node
	holders *holders
}

// reassertPool writes what is reserved for a pool again where it is absent.
func (rs *reservations) reassertPool(ctx context.Context, p journal.Pool) error {
	for _, addr := range p.Reserved() {
		if err := rs.restoreReservation(ctx, pool.At(p.Parsed.Segment, addr)); err != nil {
			return err
		}
	}
	return rs.restoreDefault(ctx, p.ID)
}

// putDefault takes one subnet if its record is absent.
func (rs *reservations) putDefault(ctx context.Context, subnet netip.Prefix, nonce string) (taken bool, err error) {
	key := store.DefaultPoolKey(subnet)
	rec := store.DefaultPool{Subnet: subnet.String(), Node: rs.Self.Node(), Nonce: nonce}
	res, err := rs.Commit(ctx, store.Txn{
		Gives: true,
		If:    []store.Cond{store.Absent(key)},
		Then:  []store.Op{store.Put(key, store.Encode(rec))},
		Else:  []store.Op{store.Get(key)},
	})
	if err != nil || res.Done {
		return res.Done, err
	}
	found, _ := res.Item(key)
	there, err := store.Decode[store.DefaultPool](found)
	return there.Nonce == nonce, err
}

// giveDefault gives a subnet back that no definition has put its name to.
func (rs *reservations) giveDefault(ctx context.Context, id pool.ID) error {
	key := store.DefaultPoolKey(id.Subnet)
	it, err := rs.Read(ctx, key)
	if err != nil || it.Created == 0 {
		return err
	}
	rec, err := store.Decode[store.DefaultPool](it)
	if err != nil || rec.Nonce != id.Nonce || len(rec.By) > 0 {
		return err
	}
	_, err = rs.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(key, it.Modified)},
		Then: []store.Op{store.Delete(key)},
	})
	return err
}

// ReserveFor returns what must go into the transaction that commits a
// definition: its uuid into every reservation of the network's pools, in
// place of the pool's own name, and into the record of each default subnet.
// A gateway or aux address that a container has fails it, naming the holder.
// When the transaction finds the conditions broken, ask again.
func (rs *reservations) ReserveFor(ctx context.Context, uuid, network string) ([]store.Cond, []store.Op, error) {
	ctx, cancel := rs.Bounded(ctx)
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
	for _, p := range rs.Memory.Pools(func(p journal.Pool) bool { return p.Network == network && !p.Closed }) {
		for _, addr := range p.Reserved() {
			at := pool.At(p.Parsed.Segment, addr)
			err := add(at.Key(), func(string) (store.Cond, store.Op, error) {
				return rs.nameReservation(ctx, at, p.By(rs.Self.Node()), uuid)
			})
			if err != nil {
				return nil, nil, err
			}
		}
		if !p.Default {
			continue
		}
		err := add(store.DefaultPoolKey(p.Parsed.Subnet), func(key string) (store.Cond, store.Op, error) {
			return rs.nameDefault(ctx, key, p.Parsed.Subnet, uuid)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return conds, ops, nil
}

// nameReservation is the step that puts a uuid into a reservation, in place
// of a pool's name.
func (rs *reservations) nameReservation(ctx context.Context, at pool.Place, pool, uuid string) (store.Cond, store.Op, error) {
	it, err := rs.Read(ctx, at.Key())
	if err != nil {
		return store.Cond{}, store.Op{}, fmt.Errorf("reserve address %s: %w", at.Addr, err)
	}
	rec, err := rs.reservation(ctx, at, it)
	if err != nil {
		return store.Cond{}, store.Op{}, err
	}
	rec.By = slices.DeleteFunc(rec.By, func(by string) bool { return by == pool || by == uuid })
	rec.By = append(rec.By, uuid)
	return store.Unchanged(at.Key(), it.Modified), store.Put(at.Key(), store.Encode(rec)), nil
}

// nameDefault is the step that puts a uuid into the record of a default
// subnet.
func (rs *reservations) nameDefault(ctx context.Context, key string, subnet netip.Prefix, uuid string) (store.Cond, store.Op, error) {
	it, err := rs.Read(ctx, key)
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
// by reading through the definition's subnets, because an engine before 28, on
// any host, reserves a gateway also where the definition has none. That takes as
// long as there are leases.
func (rs *reservations) UnreserveFor(ctx context.Context, n store.Network) ([]store.Cond, []store.Op, error) {
	var conds []store.Cond
	var ops []store.Op
	done := map[string]bool{}
	for _, p := range n.Created.Pools {
		_, err := rs.Scan(ctx, store.LeasesSpan(n.Created.Segment, p.Subnet), store.Whole, func(page []store.Item) error {
			for _, it := range page {
				if done[it.Key] || !bytes.Contains(it.Value, []byte(n.UUID)) {
					continue // a lease names its network in another way
				}
				rec, err := store.Decode[store.Lease](it)
				if err != nil {
					return err
				}
				if rec.State != store.Reserved || !slices.Contains(rec.By, n.UUID) {
					continue
				}
				done[it.Key] = true
				cond, op := withoutName(it, rec, n.UUID)
				conds, ops = append(conds, cond), append(ops, op)
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("read the reservations of network %s: %w", n.Name, err)
		}
		cond, op, found, err := rs.unnameDefault(ctx, p.Subnet, n.UUID)
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
func (rs *reservations) unnameDefault(ctx context.Context, subnet netip.Prefix, uuid string) (store.Cond, store.Op, bool, error) {
	key := store.DefaultPoolKey(subnet)
	it, err := rs.Read(ctx, key)
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

// A reservation is a record that nobody leases: a gateway or an aux address.
// It names everyone who needs it, so that two networks of one subnet may
// share a router or each have their own, and it is gone with the last name.
// Until a network's definition is committed the name is the pool's.

// reserve writes the pool's name into a reservation and notes in the pool
// what it is for.
func (rs *reservations) reserve(ctx context.Context, p journal.Pool, addr netip.Addr, note func(*journal.Pool)) error {
	if err := rs.Distrust(); err != nil {
		return err
	}
	ctx, cancel := rs.Bounded(ctx)
	defer cancel()
	at := pool.At(p.Parsed.Segment, addr)
	release, err := rs.Places.Hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	err = rs.putReservation(ctx, at, p.By(rs.Self.Node()))
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	kept := rs.Memory.NotePool(p.ID, func(p *journal.Pool) {
		p.Heard = rs.Now().UnixMilli()
		if !slices.Contains(p.Owed, addr) {
			p.Owed = append(slices.Clone(p.Owed), addr) // also in doubt: it is given back with the pool
		}
		if err == nil {
			note(p)
		}
	})
	if err != nil {
		return errors.Join(rs.Unanswered(err), kept)
	}
	return kept
}

// putReservation adds a name to a reservation, making it if need be.
func (rs *reservations) putReservation(ctx context.Context, at pool.Place, name string) error {
	var found store.Item
	for {
		rec, err := rs.reservation(ctx, at, found)
		if err != nil {
			return err
		}
		if slices.Contains(rec.By, name) {
			return nil
		}
		rec.By = append(rec.By, name)
		res, err := rs.Commit(ctx, store.Txn{
			Gives: true,
			If:    []store.Cond{store.Unchanged(at.Key(), found.Modified)},
			Then:  []store.Op{store.Put(at.Key(), store.Encode(rec))},
			Else:  []store.Op{store.Get(at.Key())},
		})
		if err != nil {
			return err
		}
		rs.Learn(at, mirror.Taken, res.Revision)
		if res.Done {
			return nil
		}
		found, _ = res.Item(at.Key())
	}
}

// reservation reads a record to be shared. A lease cannot be: its holder is
// named. Nor can what rests after an eviction: the node it was taken from may
// come back for it, and the rest would end with the network.
func (rs *reservations) reservation(ctx context.Context, at pool.Place, found store.Item) (store.Lease, error) {
	rec := store.Lease{State: store.Reserved, Since: rs.Now().Unix()}
	if found.Created == 0 {
		return rec, nil
	}
	rec, err := store.Decode[store.Lease](found)
	switch {
	case err != nil:
		return rec, err
	case rec.State == store.Conflicted: // the gateway and what is like it are the LAN's
		return store.Lease{State: store.Reserved, Since: rs.Now().Unix()}, nil
	case rec.State == store.Leased:
		return rec, fmt.Errorf("address %s cannot be reserved for the network: it is %s", at.Addr, rs.holders.heldBy(ctx, rec.Node, rec.Endpoint))
	case rec.State == store.Quarantined:
		return rec, fmt.Errorf("address %s cannot be reserved for the network: it has rested since %s, when node %s, which used it, was evicted: give another one, or try again in some minutes",
			at.Addr, time.Unix(rec.Since, 0).UTC().Format(time.TimeOnly+" MST"), rs.HostOf(ctx, rec.Node))
	}
	return rec, nil
}

// unreserve takes the pool's name out of a reservation, and the reservation
// away with the last name. With a uuid it does so only where that definition
// has put its own name in.
func (rs *reservations) unreserve(ctx context.Context, p journal.Pool, addr netip.Addr, uuid string) error {
	at := pool.At(p.Parsed.Segment, addr)
	gone, err := rs.takeName(ctx, at, p.By(rs.Self.Node()), uuid)
	if err != nil || !gone {
		return err
	}
	return rs.Memory.NotePool(p.ID, func(p *journal.Pool) {
		p.Owed = journal.Without(p.Owed, addr)
		if uuid == "" {
			p.Unreserve(addr)
		}
	})
}

// takeName takes one name out of a reservation. Gone is that it is not in there
// any more.
func (rs *reservations) takeName(ctx context.Context, at pool.Place, name, uuid string) (gone bool, err error) {
	for {
		it, err := rs.Read(ctx, at.Key())
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
		res, err := rs.Commit(ctx, store.Txn{If: []store.Cond{cond}, Then: []store.Op{op}})
		if err != nil {
			return false, err
		}
		if res.Done {
			rs.Learn(at, shownBy(op), res.Revision)
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

// restoreReservation makes an absent reservation of this node's networks
// again. It names the definition where the store has it. Where it does not,
// the pool is named until it does (see settlePool): the definition is lost as
// well, and its commit comes later.
func (rs *reservations) restoreReservation(ctx context.Context, at pool.Place) error {
	release, err := rs.Places.Hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	for {
		p, reserved := rs.Memory.ReservedAt(at)
		if !reserved {
			return nil
		}
		name, conds, err := rs.reserver(ctx, p)
		if err != nil || name == "" {
			return err
		}
		if len(conds) == 0 {
			if err := rs.owe(p, at.Addr); err != nil {
				return err
			}
		}
		res, err := rs.Commit(ctx, store.Txn{
			If:   append(conds, store.Absent(at.Key())),
			Then: []store.Op{store.Put(at.Key(), store.Encode(store.Lease{State: store.Reserved, Since: rs.Now().Unix(), By: []string{name}}))},
			Else: []store.Op{store.Get(at.Key())},
		})
		if err != nil {
			return err
		}
		if it, found := res.Item(at.Key()); found {
			rec, err := store.Decode[store.Lease](it)
			if err == nil && rec.State != store.Reserved {
				rs.holders.reservationConflict(ctx, at, p, rec)
			}
			return err
		}
		if !res.Done {
			continue // the definition changed
		}
		rs.Learn(at, mirror.Taken, res.Revision)
		rs.Log.Warn("a reservation of a network on this node had vanished from the store: made again", "address", at.Addr, "segment", at.Segment)
		return rs.settleRestored(ctx, p, at)
	}
}

// reserver is whose name a pool's reservations carry, with what must still
// hold when it is written; "" for nobody's: the definition was removed, and the
// network here is about to be.
func (rs *reservations) reserver(ctx context.Context, p journal.Pool) (string, []store.Cond, error) {
	n, _ := rs.Memory.Addressing(p.Network)
	if n.UUID == "" {
		return p.By(rs.Self.Node()), nil, nil
	}
	it, err := rs.Read(ctx, store.NetworkKey(n.Name))
	if err != nil {
		return "", nil, err
	}
	if def, err := store.Decode[store.Network](it); it.Created == 0 || err != nil || def.UUID != n.UUID {
		grave, err := rs.Read(ctx, store.TombstoneKey(n.UUID))
		if err != nil || grave.Created != 0 {
			return "", nil, err
		}
		return p.By(rs.Self.Node()), nil, nil
	}
	return n.UUID, []store.Cond{store.Unchanged(it.Key, it.Modified)}, nil
}

// owe notes that a reservation carries the pool's own name, before it does.
func (rs *reservations) owe(p journal.Pool, addr netip.Addr) error {
	if slices.Contains(p.Owed, addr) {
		return nil
	}
	return rs.Memory.NotePool(p.ID, func(p *journal.Pool) {
		if !slices.Contains(p.Owed, addr) {
			p.Owed = append(slices.Clone(p.Owed), addr)
		}
	})
}

// settleRestored takes a reservation back whose pool was closed while it was
// made: closing it may have found nothing to give back.
func (rs *reservations) settleRestored(ctx context.Context, p journal.Pool, at pool.Place) error {
	if now, ok := rs.Memory.Pool(p.ID); ok && !now.Closed {
		return nil
	}
	_, err := rs.takeName(ctx, at, p.By(rs.Self.Node()), "")
	return err
}

// restoreDefault makes the record of a default subnet again.
func (rs *reservations) restoreDefault(ctx context.Context, id string) error {
	p, ok := rs.Memory.Pool(id)
	if !ok || p.Closed || !p.Default {
		return nil
	}
	name, conds, err := rs.reserver(ctx, p)
	if err != nil || name == "" {
		return err
	}
	key := store.DefaultPoolKey(p.Parsed.Subnet)
	rec := store.DefaultPool{Subnet: p.Parsed.Subnet.String(), Node: rs.Self.Node(), Nonce: p.Parsed.Nonce}
	if len(conds) > 0 {
		rec = store.DefaultPool{Subnet: rec.Subnet, By: []string{name}}
	}
	res, err := rs.Commit(ctx, store.Txn{
		If:   append(conds, store.Absent(key)),
		Then: []store.Op{store.Put(key, store.Encode(rec))},
		Else: []store.Op{store.Get(key)},
	})
	if err != nil {
		return err
	}
	if _, there := res.Item(key); !res.Done && !there {
		return rs.restoreDefault(ctx, id) // the definition changed
	}
	if now, ok := rs.Memory.Pool(id); !ok || now.Closed {
		return rs.giveDefault(ctx, p.Parsed)
	}
	return nil
}

// shownBy is what a step shows of the address it changes.
func shownBy(op store.Op) mirror.Shown {
	if op.Kind == store.OpPut {
		return mirror.Taken
	}
	return mirror.Free
}
