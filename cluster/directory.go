package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
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
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	cluster string
	keys    [][]byte
	nodes   map[string]store.Node
	live    map[string]store.Live
	epochs  map[string]store.Epoch
	gone    map[string]time.Time   // registered and not connected: since when
	heard   time.Time              // when etcd last answered
	rev     store.Revision         // the newest that a mirror of nodes is true of
	known   map[string]gossip.Node // built from the above, not changed afterwards
	changed chan struct{}          // closed on the next change
}

var _ gossip.Registry = (*Directory)(nil)

// NewDirectory makes an empty Directory; Run fills it. Records that cannot
// be read are logged; with a nil log nothing is.
func NewDirectory(log *slog.Logger) *Directory {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Directory{
		log: log, now: time.Now,
		nodes:   map[string]store.Node{},
		live:    map[string]store.Live{},
		epochs:  map[string]store.Epoch{},
		gone:    map[string]time.Time{},
		changed: make(chan struct{}),
	}
}

// Known returns what etcd said last; nobody changes it afterwards.
func (d *Directory) Known() gossip.Known {
	d.mu.Lock()
	defer d.mu.Unlock()
	return gossip.Known{
		Cluster: d.cluster,
		Keys:    d.keys,
		Nodes:   d.known,
		Fresh:   d.now().Sub(d.heard) < freshFor,
		Heard:   d.heard,

		Revision: d.rev,
	}
}

// Changed returns a channel that is closed at the next change.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// join builds one table of nodes; the directory is locked.
func (d *Directory) join() map[string]gossip.Node {
	known := make(map[string]gossip.Node, len(d.nodes))
	for name, description := range d.nodes {
		known[name] = gossip.Node{Name: name, Description: description, Registered: true, Gone: d.goneSince(name)}
	}
	for name, live := range d.live {
		node := known[name]
		node.Name, node.Live = name, &live
		known[name] = node
	}
	for name, epoch := range d.epochs {
		node := known[name]
		node.Name, node.Epoch = name, epoch
		known[name] = node
	}
	return known
}

// goneSince notes when a node was first seen without its live record, and
// forgets that when it has one.
func (d *Directory) goneSince(node string) time.Time {
	if _, ok := d.live[node]; ok {
		delete(d.gone, node)
		return time.Time{}
	}
	if _, ok := d.gone[node]; !ok {
		d.gone[node] = d.now()
	}
	return d.gone[node]
}

// Run keeps the directory until ctx ends. It reads and watches, nothing
// else. An error means that the store refuses to be read.
func (d *Directory) Run(ctx context.Context, kv store.KV) error {
	group, ctx := errgroup.WithContext(ctx)
	follow := func(span store.Span, apply func(store.Change)) {
		group.Go(func() error {
			return store.Follow(ctx, kv, span, func(c store.Change) {
				d.update(c.Revision, func() { apply(c) })
			})
		})
	}
	follow(store.NodesSpan(), func(c store.Change) { merge(d.log, d.nodes, c) })
	follow(store.LiveSpan(), func(c store.Change) { merge(d.log, d.live, c) })
	follow(store.EpochsSpan(), func(c store.Change) { merge(d.log, d.epochs, c) })
	follow(only(store.MetaKey()), d.applyMeta)
	follow(only(store.GossipKeysKey()), d.applyKeys)
	group.Go(func() error { d.check(ctx, kv); return nil })
	return group.Wait()
}

// update runs a change under the lock and wakes who waits for it.
func (d *Directory) update(rev store.Revision, change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.rev = max(d.rev, rev)
	d.heard = d.now()
	d.known = d.join()
	close(d.changed)
	d.changed = make(chan struct{})
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
			d.heard = d.now()
			d.mu.Unlock()
		}
	}
}

func (d *Directory) applyMeta(c store.Change) {
	records := map[string]store.Meta{}
	merge(d.log, records, c)
	for _, meta := range records {
		d.cluster = meta.UUID
	}
}

// applyKeys takes new keys; a record without keys, or none, changes nothing:
// a membership goes on with the keys it has.
func (d *Directory) applyKeys(c store.Change) {
	records := map[string]store.GossipKeys{}
	merge(d.log, records, c)
	for _, record := range records {
		if len(record.Keys) > 0 && !slices.EqualFunc(record.Keys, d.keys, bytes.Equal) {
			d.keys = record.Keys
		}
	}
}

// merge applies a change to records by the last part of their keys. A record
// that cannot be read is left out.
func merge[T any](log *slog.Logger, records map[string]T, c store.Change) {
	if c.Reset {
		clear(records)
	}
	put := func(it store.Item) {
		record, err := store.Decode[T](it)
		if err != nil {
			log.Warn("leave out a record", "err", err)
			return
		}
		records[store.NameOf(it.Key)] = record
	}
	for _, it := range c.Items {
		put(it)
	}
	for _, ev := range c.Events {
		if ev.Deleted {
			delete(records, store.NameOf(ev.Item.Key))
		} else {
			put(ev.Item)
		}
	}
}

// only is the span of one key.
func only(key string) store.Span { return store.Span{From: key, To: key + "\x00"} }
