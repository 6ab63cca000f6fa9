package driver

import (
	"context"

	"gvlan/cluster/store"
)

// retire turns a definition that nobody refers to from active to removing:
// from here on nothing starts on it, and every live node answers.
func (d *Driver) retire(ctx context.Context, s step) error {
	def := s.definition.Record
	def.State = store.NetworkRemoving
	res, err := d.cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(s.definition.Key, s.definition.Modified)},
		Then: []store.Op{store.Put(s.definition.Key, store.Encode(def))},
	})
	if err == nil && res.Done {
		d.log.Info("network is being removed from the whole cluster", "network", def.Name)
	}
	return err
}

// answer says whether the replica is gone here, or why the definition must
// stay.
func (d *Driver) answer(ctx context.Context, s step) error {
	def := s.definition
	removal := store.Removal{Node: d.self.Node(), Gone: s.why == "", Veto: s.why}
	_, err := d.cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.SameLife(def.Key, def.Born)},
		Then: []store.Op{store.Put(store.RemovalKey(def.Record.UUID, d.self.Node()), store.Encode(removal))},
	})
	return err
}

// revive makes a definition active again: somebody refers to it after all, or
// what looked like an rm was a prune.
func (d *Driver) revive(ctx context.Context, s step) error {
	def := s.definition.Record
	def.State = store.NetworkActive
	txn := store.Txn{
		If:   []store.Cond{store.Unchanged(s.definition.Key, s.definition.Modified)},
		Then: []store.Op{store.Put(s.definition.Key, store.Encode(def))},
	}
	if s.definition.Modified == 0 { // from its tombstone
		txn.Then = append(txn.Then, store.Delete(store.TombstoneKey(def.UUID)))
	}
	clear, err := d.clearAnswers(ctx, def.UUID)
	if err != nil {
		return err
	}
	txn.Then = append(txn.Then, clear...)
	res, err := d.cfg.KV.Commit(ctx, txn)
	if err == nil && res.Done {
		d.log.Warn("network stays", "network", def.Name, "why", s.why)
	}
	return err
}

// bury ends a removal every live node agreed to: definition and reservations
// go, a tombstone stays for nodes that are away.
func (d *Driver) bury(ctx context.Context, s step) error {
	def := s.definition.Record
	conds, ops, err := d.addresses.UnreserveFor(ctx, def)
	if err != nil {
		return err
	}
	clear, err := d.clearAnswers(ctx, def.UUID)
	if err != nil {
		return err
	}
	def.State = store.NetworkActive // as it would come back
	grave := store.Tombstone{Network: def, By: d.self.Node(), Since: d.milliseconds() / 1000}
	ops = append(ops, store.Delete(s.definition.Key), store.Put(store.TombstoneKey(def.UUID), store.Encode(grave)))
	res, err := d.cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Unchanged(s.definition.Key, s.definition.Modified)),
		Then: append(ops, clear...),
	})
	if err == nil && res.Done {
		d.log.Info("network is removed from the whole cluster", "network", def.Name, "uuid", def.UUID)
	}
	return err
}

// clearAnswers deletes every node's answer to a removal.
func (d *Driver) clearAnswers(ctx context.Context, uuid string) ([]store.Op, error) {
	items, _, err := d.cfg.KV.List(ctx, store.RemovalSpan(uuid))
	if err != nil {
		return nil, err
	}
	var ops []store.Op
	for _, it := range items {
		ops = append(ops, store.Delete(it.Key))
	}
	return ops, nil
}
