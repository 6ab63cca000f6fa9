package driver

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/plan"
)

// table is a local copy of one span of the store.
type table[T any] struct {
	mu    sync.Mutex
	rows  map[string]plan.Row[T] // by key
	ready bool                   // the first list has arrived
	log   *slog.Logger

	seen  store.Revision // the copy is of this revision
	wrote store.Revision // this host's own latest write that what follows from the copy depends on
}

// apply takes a change over.
func (t *table[T]) apply(c store.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Reset && c.Revision < t.seen {
		t.wrote = 0 // an older store took the place of the one that was written to
	}
	t.seen = c.Revision
	if c.Reset {
		t.rows = map[string]plan.Row[T]{}
		t.ready = true
		for _, it := range c.Items {
			t.take(it)
		}
	}
	for _, ev := range c.Events {
		if ev.Deleted {
			delete(t.rows, ev.Item.Key)
			continue
		}
		t.take(ev.Item)
	}
}

func (t *table[T]) take(it store.Item) {
	record, err := store.Decode[T](it)
	if err != nil {
		t.log.Error("the store holds a record that cannot be read", "error", err)
		return
	}
	t.rows[it.Key] = plan.Row[T]{Key: it.Key, Record: record, Born: it.Created, Modified: it.Modified}
}

// awaits makes the table not ready until it shows what this host itself just
// wrote: a definition that is missing only because the copy lags must not
// look removed.
func (t *table[T]) awaits(written store.Revision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrote = max(t.wrote, written)
}

// all copies the table; ready is false before the first list, and while the
// copy is older than what this host wrote.
func (t *table[T]) all() (rows map[string]plan.Row[T], ready bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.rows), t.ready && t.seen >= t.wrote
}

// tables are the spans of the store that replicas are kept from.
type tables struct {
	networks   table[store.Network]
	tombstones table[store.Tombstone]
	removals   table[store.Removal]
	refs       table[store.Refs]
	live       table[store.Live]
	nodes      table[store.Node]

	mu   sync.Mutex
	next chan struct{} // closed at the next change
}

func newTables(log *slog.Logger) *tables {
	t := &tables{next: make(chan struct{})}
	t.networks.log, t.tombstones.log, t.removals.log, t.refs.log = log, log, log, log
	t.live.log, t.nodes.log = log, log
	return t
}

// follow keeps the tables up to date until ctx ends, and calls changed after
// every change, after one of a node's description nodes too.
func (t *tables) follow(ctx context.Context, kv store.KV, changed, nodes func()) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range []struct {
		span  store.Span
		apply func(store.Change)
	}{
		{store.NetworksSpan(), t.networks.apply},
		{store.TombstonesSpan(), t.tombstones.apply},
		{store.RemovalsSpan(), t.removals.apply},
		{store.RefsSpan(), t.refs.apply},
		{store.LiveSpan(), t.live.apply},
		{store.NodesSpan(), func(c store.Change) { t.nodes.apply(c); nodes() }},
	} {
		group.Go(func() error {
			return store.Follow(ctx, kv, one.span, func(c store.Change) { one.apply(c); t.turn(); changed() })
		})
	}
	return group.Wait()
}

// turn wakes everybody who waits for a change.
func (t *tables) turn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.next)
	t.next = make(chan struct{})
}

// changed waits for the next change, a second at most: what is waited for may
// have happened just before.
func (t *tables) changed(ctx context.Context) error {
	t.mu.Lock()
	next := t.next
	t.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-next:
	case <-time.After(time.Second):
	}
	return nil
}

// followStore keeps the driver's tables.
func (d *Driver) followStore(ctx context.Context) error {
	return d.tables.follow(ctx, d.cfg.KV, d.poke, d.keepOutAll)
}
