// Package description owns a node's record, /nodes/<node>: what the node says of
// itself, beside what an operator wrote into it. Nobody else writes the key. What
// the two write is kept apart here: each reads the record and writes it with its
// own part changed, by compare-and-swap, until nobody was in between.
package description

import (
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store"
)

// Publish writes what a node says of itself, and keeps what an operator wrote.
// It returns when it is written.
func Publish(ctx context.Context, kv store.KV, node store.Node) error {
	for {
		item, err := kv.Get(ctx, store.NodeKey(node.Node))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		default:
			had, err := store.Decode[store.Node](item)
			if errors.Is(err, store.ErrNewer) {
				return err
			}
			if err == nil {
				node.Drained, node.Leaving, node.Unknown = had.Drained, had.Leaving, had.Unknown
			}
		}
		if done, err := swap(ctx, kv, node.Node, item.Modified, node); done || err != nil {
			return err
		}
	}
}

// Drain marks a node as taking no new containers, or takes the mark away.
// What runs there stays. A node the store does not know is store.ErrNotFound.
func Drain(ctx context.Context, kv store.KV, node string, drained bool) error {
	return mark(ctx, kv, node, "drain", func(record *store.Node) { record.Drained = drained })
}

// Leave marks a node as one that hands its place in the cluster's own store over
// and goes, or takes the mark away. A node the store does not know is
// store.ErrNotFound.
func Leave(ctx context.Context, kv store.KV, node string, leaving bool) error {
	return mark(ctx, kv, node, "mark leaving", func(record *store.Node) { record.Leaving = leaving })
}

// mark changes what an operator wrote of a node; doing names it in errors.
func mark(ctx context.Context, kv store.KV, node, doing string, change func(*store.Node)) error {
	for {
		item, err := kv.Get(ctx, store.NodeKey(node))
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("no node %q ('gvlan node ls' lists them): %w", node, err)
		}
		if err != nil {
			return fmt.Errorf("%s node %s: %w", doing, node, err)
		}
		record, err := store.Decode[store.Node](item)
		if err != nil {
			return fmt.Errorf("%s node %s: %w", doing, node, err)
		}
		drained, leaving := record.Drained, record.Leaving
		change(&record)
		if record.Drained == drained && record.Leaving == leaving {
			return nil
		}
		if done, err := swap(ctx, kv, node, item.Modified, record); err != nil {
			return fmt.Errorf("%s node %s: %w", doing, node, err)
		} else if done {
			return nil
		}
	}
}

// swap writes a record unless it was written since a revision; 0: since it was
// absent.
func swap(ctx context.Context, kv store.KV, node string, since store.Revision, record store.Node) (done bool, err error) {
	key := store.NodeKey(node)
	res, err := kv.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(key, since)},
		Then: []store.Op{store.Put(key, store.Encode(record))},
	})
	return res.Done, err
}

// Delete is the step of an eviction that takes the record away.
func Delete(node string) store.Op { return store.Delete(store.NodeKey(node)) }
