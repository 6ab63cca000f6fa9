package cluster

import (
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store"
)

// Drain marks a node as taking no new containers, or takes the mark away.
// What runs there stays. A node the store does not know is store.ErrNotFound.
func Drain(ctx context.Context, kv store.KV, node string, drained bool) error {
	for {
		item, err := kv.Get(ctx, store.NodeKey(node))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("no node %q ('gvlan node ls' lists them): %w", node, err)
		}
		if err != nil {
			return fmt.Errorf("drain node %s: %w", node, err)
		}
		record, err := store.Decode[store.Node](item)
		if err != nil {
			return fmt.Errorf("drain node %s: %w", node, err)
		}
		if record.Drained == drained {
			return nil
		}
		record.Drained = drained
		// The node itself writes this record too, on every change of its
		// interfaces.
		res, err := kv.Commit(ctx, store.Txn{
			If:   []store.Cond{store.Unchanged(item.Key, item.Modified)},
			Then: []store.Op{store.Put(item.Key, store.Encode(record))},
		})
		if err != nil {
			return fmt.Errorf("drain node %s: %w", node, err)
		}
		if res.Done {
			return nil
		}
	}
}
