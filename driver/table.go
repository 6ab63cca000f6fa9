package driver

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
)

// tables are the spans of the store that replicas are kept from.
type tables struct {
	networks   *store.Table[store.Network]
	tombstones *store.Table[store.Tombstone]
	removals   *store.Table[store.Removal]
	refs       *store.Table[store.Refs]
	live       *store.Table[store.Live]
	nodes      *store.Table[store.Node]
}

func newTables(log *slog.Logger) *tables {
	unread := func(err error) {
		log.Error("a record of the store cannot be read: what it said before stands", "err", err)
	}
	return &tables{
		networks:   store.NewTable[store.Network](store.NetworksSpan(), unread),
		tombstones: store.NewTable[store.Tombstone](store.TombstonesSpan(), unread),
		removals:   store.NewTable[store.Removal](store.RemovalsSpan(), unread),
		refs:       store.NewTable[store.Refs](store.RefsSpan(), unread),
		live:       store.NewTable[store.Live](store.LiveSpan(), unread),
		nodes:      store.NewTable[store.Node](store.NodesSpan(), unread),
	}
}

// tell has changed called after every change, and nodes before that after one
// of a node's description.
func (t *tables) tell(changed, nodes func()) {
	t.nodes.Tell(func(store.Change) { nodes() })
	reader := func(store.Change) { changed() }
	t.networks.Tell(reader)
	t.tombstones.Tell(reader)
	t.removals.Tell(reader)
	t.refs.Tell(reader)
	t.live.Tell(reader)
	t.nodes.Tell(reader)
}

// run keeps the tables up to date until ctx ends.
func (t *tables) run(ctx context.Context, kv store.KV) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, table := range []interface {
		Run(context.Context, store.KV) error
	}{t.networks, t.tombstones, t.removals, t.refs, t.live, t.nodes} {
		group.Go(func() error { return table.Run(ctx, kv) })
	}
	return group.Wait()
}

// changed waits until something happens to a network, here or anywhere, a
// second at most: what is waited for may have happened just before.
func (t *tables) changed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.networks.Changed():
	case <-t.nodes.Changed(): // of this node too: it describes what it did
	case <-time.After(time.Second):
	}
	return nil
}

// followStore keeps the driver's tables.
func (d *Driver) followStore(ctx context.Context) error { return d.tables.run(ctx, d.cfg.KV) }
