//go:build !race

package cluster_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// told is a node that tells of what it writes, and another that mirrors the
// networks and hears of them when the test says so.
type told struct {
	writer *cluster.Hinted
	hints  []cluster.Hint // of the writer, not heard yet
	spy    *storetest.Spy
	wire   *storetest.Wire // of the mirror
	reader *cluster.Hinted
	heard  chan cluster.Batch[cluster.Heard]

	mu    sync.Mutex
	names map[string]bool
	reads int // of the whole span
	parts int // reads of a part of it
}

func newTold(t *testing.T) *told {
	d := &told{spy: storetest.NewSpy(storetest.NewMem()), heard: make(chan cluster.Batch[cluster.Heard]), names: map[string]bool{}}
	d.writer = cluster.NewHinted(d.spy.As("writer"), func(h cluster.Hint) { d.hints = append(d.hints, h) })
	d.wire = storetest.NewWire(d.spy.As("reader"))
	d.reader = cluster.NewHinted(d.wire, func(h cluster.Hint) { t.Errorf("the reader tells %+v", h) })
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = d.reader.Run(ctx, d.heard) })
	wait.Go(func() { _ = store.Follow(ctx, d.reader, store.NetworksSpan(), d.apply) })
	wait.Go(func() {
		_ = store.Follow(ctx, d.reader, store.Prefix(store.NetworkKey("other")), func(c store.Change) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if c.Reset {
				d.parts++
			}
		})
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	synctest.Wait()
	return d
}

func (d *told) apply(c store.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.Reset {
		d.reads++
		clear(d.names)
	}
	for _, it := range c.Items {
		d.names[store.NameOf(it.Key)] = true
	}
	for _, ev := range c.Events {
		d.names[store.NameOf(ev.Item.Key)] = !ev.Deleted
	}
}

// write commits and returns what is told of it.
func (d *told) write(t *testing.T, keys ...string) []cluster.Hint {
	t.Helper()
	var ops []store.Op
	for _, key := range keys {
		ops = append(ops, store.Put(key, []byte("{}")))
	}
	d.hints = nil
	if _, err := d.writer.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
	return d.hints
}

// hear lets the mirror's node hear a hint and waits for longer than anything
// that could follow from it.
func (d *told) hear(h cluster.Hint) {
	d.heard <- cluster.Batch[cluster.Heard]{Items: []cluster.Heard{{From: "writer", Hint: h}}}
	time.Sleep(20 * time.Second)
	synctest.Wait()
}

// holds compares what the mirror has, and how often it read everything.
func (d *told) holds(t *testing.T, reads int, names ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(d.names))); diff != "" {
		t.Errorf("mirror (-want +got):\n%s", diff)
	}
	if d.parts != 1 {
		t.Errorf("a mirror of other networks read them %d times, want once", d.parts)
	}
	if d.reads != reads {
		t.Errorf("the mirror read everything %d times, want %d", d.reads, reads)
	}
}

// TestHintsOnlyCauseARead: a hint reads a mirror anew whose watch lost what
// it tells of; it does nothing to one that is up to date, and never writes.
func TestHintsOnlyCauseARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTold(t)
		first := d.write(t, store.NetworkKey("lan1"))
		d.hear(first[0])
		d.holds(t, 1, "lan1")

		d.wire.LoseEvents(1)
		lost := d.write(t, store.NetworkKey("lan2"))
		synctest.Wait()
		d.holds(t, 1, "lan1")
		d.hear(lost[0])
		d.holds(t, 2, "lan1", "lan2")
		if got := d.reader.Applied(); got != lost[0].Rev {
			t.Errorf("applied revision %d, want %d", got, lost[0].Rev)
		}

		d.hear(first[0]) // late
		d.hear(cluster.Hint{Kind: cluster.Endpoints, Rev: 1 << 40})
		d.holds(t, 2, "lan1", "lan2")
		d.hear(cluster.Hint{Kind: cluster.Networks, Rev: 1 << 40}) // a lie
		d.holds(t, 3, "lan1", "lan2")
		if wrote := d.spy.Writes("reader"); len(wrote) != 0 {
			t.Errorf("hints made the node write %v", wrote)
		}
	})
}

// TestWritesAreTold: of the records others wait for, in whichever branch
// they are written, and of no others.
func TestWritesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTold(t)
		rev := d.reader.Applied() + 1
		endpoint, lease := store.EndpointKey("a", "e1"), "/leases/default/4/c0000207"
		got := d.write(t, endpoint, lease, store.LiveKey("a"), store.NodeKey("a"))
		want := []cluster.Hint{{Kind: cluster.Endpoints, ID: cluster.IDOf(endpoint), Rev: rev}, {Kind: cluster.Nodes, ID: cluster.IDOf(store.NodeKey("a")), Rev: rev}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		d.hints = nil
		network := store.NetworkKey("lan1")
		res, err := d.writer.Commit(t.Context(), store.Txn{
			If:   []store.Cond{store.Absent(endpoint)},
			Then: []store.Op{store.Put(endpoint, nil)},
			Else: []store.Op{store.Get(endpoint), {Kind: store.OpNested, Nested: &store.Txn{Then: []store.Op{store.Delete(endpoint), store.Put(network, nil)}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		// The endpoint may have been gone before it was deleted.
		want = []cluster.Hint{{Kind: cluster.Networks, ID: cluster.IDOf(network), Rev: res.Revision}}
		if diff := cmp.Diff(want, d.hints); diff != "" {
			t.Errorf("told of the other branch (-want +got):\n%s", diff)
		}
		d.hints = nil
		res, err = d.writer.Commit(t.Context(), store.Txn{
			If:   []store.Cond{store.Unchanged(network, res.Revision)},
			Then: []store.Op{store.Delete(network)},
		})
		if err != nil {
			t.Fatal(err)
		}
		want = []cluster.Hint{{Kind: cluster.Networks, ID: cluster.IDOf(network), Rev: res.Revision}}
		if diff := cmp.Diff(want, d.hints); diff != "" {
			t.Errorf("told of a deletion (-want +got):\n%s", diff)
		}
	})
}
