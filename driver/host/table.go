package host

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
)

// Tables are spans of the store that others read too.
type Tables struct {
	Networks *store.Table[store.Network]
	Live     *store.Table[store.Live]
	Nodes    *store.Table[store.Node]
	Epochs   *store.Table[store.Epoch]
	// Endpoints are of all nodes.
	Endpoints *store.Table[store.Endpoint]
}

// Mirrors are the spans of the store that replicas are kept from.
type Mirrors struct {
	Networks   *store.Table[store.Network]
	Tombstones *store.Table[store.Tombstone]
	Removals   *store.Table[store.Removal]
	Refs       *store.Table[store.Refs]
	Live       *store.Table[store.Live]
	Nodes      *store.Table[store.Node]
	Epochs     *store.Table[store.Epoch]
	Endpoints  *store.Table[store.Endpoint]
}

func newMirrors(shared Tables, log *slog.Logger) *Mirrors {
	unread := func(err error) {
		log.Error("a record of the store cannot be read: what it said before stands", "err", err)
	}
	return &Mirrors{
		Networks:   shared.Networks,
		Tombstones: store.NewTable[store.Tombstone](store.TombstonesSpan(), unread),
		Removals:   store.NewTable[store.Removal](store.RemovalsSpan(), unread),
		Refs:       store.NewTable[store.Refs](store.RefsSpan(), unread),
		Live:       shared.Live,
		Nodes:      shared.Nodes,
		Epochs:     shared.Epochs,
		Endpoints:  shared.Endpoints,
	}
}

// Tell has changed called after every change, nodes before that after one of a
// node's description, and endpoints, alone, after one of an endpoint.
func (t *Mirrors) Tell(changed, nodes, endpoints func()) {
	t.Endpoints.Tell(func(store.Change) { endpoints() })
	t.Nodes.Tell(func(store.Change) { nodes() })
	reader := func(store.Change) { changed() }
	t.Networks.Tell(reader)
	t.Tombstones.Tell(reader)
	t.Removals.Tell(reader)
	t.Refs.Tell(reader)
	t.Live.Tell(reader)
	t.Nodes.Tell(reader)
	t.Epochs.Tell(reader)
}

// Run keeps the driver's own tables up to date until ctx ends.
func (t *Mirrors) Run(ctx context.Context, kv store.KV) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context, store.KV) error{t.Tombstones.Run, t.Removals.Run, t.Refs.Run} {
		group.Go(func() error { return run(ctx, kv) })
	}
	return group.Wait()
}

// Changed waits until something happens to a network, here or anywhere, a
// second at most: what is waited for may have happened just before.
func (t *Mirrors) Changed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.Networks.Changed():
	case <-t.Nodes.Changed(): // of this node too: it describes what it did
	case <-time.After(time.Second):
	}
	return nil
}
