package audit

import (
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store"
	"gvlan/ipam/evict"
)

// ErrNoRepair: the finding is none that a repair takes away.
var ErrNoRepair = errors.New("no repair takes this away")

// Repair takes a finding away, where every record that was judged is as it was.
// An address that somebody may use is never freed by it: it rests, and is free
// when the LAN is silent.
func (a *Auditor) Repair(ctx context.Context, f Finding) (Outcome, error) {
	if !f.Repairable {
		return "", ErrNoRepair
	}
	txn := f.repair.txn
	if f.repair.rests != "" {
		conds, ops, err := a.rest(ctx, f.repair.rests)
		if err != nil {
			return "", fmt.Errorf("repair %s: %w", f.Key, err)
		}
		txn = store.Txn{If: append(conds, txn.If...), Then: append(ops, txn.Then...)}
	}
	res, err := a.KV.Commit(ctx, txn)
	switch {
	case err != nil:
		return "", fmt.Errorf("repair %s: %w", f.Key, err)
	case !res.Done:
		return Changed, nil
	}
	return Repaired, nil
}

// rest has a node's addresses rest, unless they do already.
func (a *Auditor) rest(ctx context.Context, node string) ([]store.Cond, []store.Op, error) {
	key := store.QuarantineKey(node)
	it, err := a.KV.Get(ctx, key)
	switch {
	case err == nil:
		return []store.Cond{store.Unchanged(key, it.Modified)}, nil, nil
	case !errors.Is(err, store.ErrNotFound):
		return nil, nil, err
	}
	ops, err := evict.Rest(ctx, a.Grant, store.Quarantine{Node: node, Since: a.Now().Unix()})
	return []store.Cond{store.Absent(key)}, ops, err
}
