package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

const (
	// checkEvery is how often the store is asked whether it still answers;
	// checkTimeout is how long it may take.
	checkEvery   = 10 * time.Second
	checkTimeout = 4 * time.Second
	// freshFor is how long an answer counts: two checks may fail.
	freshFor = 3 * checkEvery
)

// Directory is a mirror of what etcd says of the cluster's nodes: the
// Registry of an agent, and one half of View.
type Directory struct {
	now func() time.Time

	nodes  *store.Table[store.Node]
	live   *store.Table[store.Live]
	epochs *store.Table[store.Epoch]
	meta   *store.Table[store.Meta]
	keys   *store.Table[store.GossipKeys]

	mu      sync.Mutex
	known   gossip.Known         // built from the tables, but for Fresh; its content is not changed afterwards
	gone    map[string]time.Time // registered and not connected: since when
	changed chan struct{}        // closed on the next change
}

var _ gossip.Registry = (*Directory)(nil)

// NewDirectory makes an empty Directory; Run fills it. Records that cannot
// be read are logged; with a nil log nothing is.
func NewDirectory(log *slog.Logger) *Directory {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	unread := func(err error) {
		log.Warn("a record of the store cannot be read: what it said before stands", "err", err)
	}
	d := &Directory{
		now:     time.Now,
		nodes:   store.NewTable[store.Node](store.NodesSpan(), unread),
		live:    store.NewTable[store.Live](store.LiveSpan(), unread),
		epochs:  store.NewTable[store.Epoch](store.EpochsSpan(), unread),
		meta:    store.NewTable[store.Meta](only(store.MetaKey()), unread),
		keys:    store.NewTable[store.GossipKeys](only(store.GossipKeysKey()), unread),
		gone:    map[string]time.Time{},
		changed: make(chan struct{}),
	}
	for _, tell := range []func(func(store.Change)){d.nodes.Tell, d.live.Tell, d.epochs.Tell, d.meta.Tell, d.keys.Tell} {
		tell(d.update)
	}
	return d
}

// Nodes is the table of the nodes' descriptions, for others to read too.
func (d *Directory) Nodes() *store.Table[store.Node] { return d.nodes }

// Live is the table of the connected agents, for others to read too.
func (d *Directory) Live() *store.Table[store.Live] { return d.live }

// Epochs is the table of the nodes' rights to write, for others to read too.
func (d *Directory) Epochs() *store.Table[store.Epoch] { return d.epochs }

// Known returns what etcd said last; nobody changes it afterwards.
func (d *Directory) Known() gossip.Known {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.known
	known.Fresh = d.now().Sub(known.Heard) < freshFor
	return known
}

// Changed returns a channel that is closed at the next change.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Run keeps the directory until ctx ends. It reads and watches, nothing
// else. An error means that the store refuses to be read.
func (d *Directory) Run(ctx context.Context, kv store.KV) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context, store.KV) error{d.nodes.Run, d.live.Run, d.epochs.Run, d.meta.Run, d.keys.Run} {
		group.Go(func() error { return run(ctx, kv) })
	}
	group.Go(func() error { d.check(ctx, kv); return nil })
	return group.Wait()
}

// Follows takes in how far other mirrors of this node have come.
func (d *Directory) Follows(c store.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known.Revision = max(d.known.Revision, c.Revision)
}

// update joins the tables anew after a change of one, and wakes who waits for
// it.
func (d *Directory) update(c store.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known.Heard = d.now()
	d.known.Revision = max(d.known.Revision, c.Revision)
	d.known.Nodes = d.join()
	if meta, found := d.meta.Row(store.MetaKey()); found {
		d.known.Cluster = meta.Record.UUID
	}
	// A record without keys, or none, changes nothing: a membership goes on
	// with the keys it has.
	if keys, _ := d.keys.Row(store.GossipKeysKey()); len(keys.Record.Keys) > 0 {
		d.known.Keys = keys.Record.Keys
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// join builds one map of the nodes; the directory is locked.
func (d *Directory) join() map[string]gossip.Node {
	nodes, _ := d.nodes.Rows()
	live, _ := d.live.Rows()
	epochs, _ := d.epochs.Rows()
	known := make(map[string]gossip.Node, len(nodes))
	for key, row := range nodes {
		name := store.NameOf(key)
		_, connected := live[store.LiveKey(name)]
		known[name] = gossip.Node{Name: name, Description: row.Record, Registered: true, Gone: d.goneSince(name, connected)}
	}
	for key, row := range live {
		node := known[store.NameOf(key)]
		node.Name, node.Live = store.NameOf(key), &row.Record
		known[node.Name] = node
	}
	for key, row := range epochs {
		node := known[store.NameOf(key)]
		node.Name, node.Epoch = store.NameOf(key), row.Record
		known[node.Name] = node
	}
	return known
}

// goneSince notes when a node was first seen without its live record, and
// forgets that when it has one.
func (d *Directory) goneSince(node string, connected bool) time.Time {
	if connected {
		delete(d.gone, node)
		return time.Time{}
	}
	if _, ok := d.gone[node]; !ok {
		d.gone[node] = d.now()
	}
	return d.gone[node]
}

// check asks the store from time to time whether it answers: a watch on
// which nothing happens does not tell.
func (d *Directory) check(ctx context.Context, kv store.KV) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, checkTimeout)
		_, err := kv.Get(limited, store.MetaKey())
		cancel()
		if err == nil {
			d.mu.Lock()
			d.known.Heard = d.now()
			d.mu.Unlock()
		}
	}
}

// only is the span of one key.
func only(key string) store.Span { return store.Span{From: key, To: key + "\x00"} }
