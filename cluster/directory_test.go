package cluster_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

func write(t *testing.T, kv store.KV, ops ...store.Op) {
	t.Helper()
	if _, err := kv.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
}

// follow runs a directory on a store until the test ends.
func follow(t *testing.T, kv store.KV) *cluster.Directory {
	d := cluster.NewDirectory(nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, kv) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("directory: %v", err)
		}
	})
	return d
}

// until waits for changes of a directory until it satisfies want.
func until(d *cluster.Directory, want func(gossip.Known) bool) gossip.Known {
	for {
		changed := d.Changed()
		if known := d.Known(); want(known) {
			return known
		}
		<-changed
	}
}

func TestDirectoryFollowsTheStore(t *testing.T) {
	mem := storetest.NewMem()
	d := follow(t, mem)
	key := []byte("0123456789abcdef0123456789abcdef")
	live := store.Live{Host: "h", Gossip: "192.0.2.1:7947"}
	write(t, mem,
		store.Put(store.MetaKey(), store.Encode(store.Meta{UUID: "u"})),
		store.Put(store.GossipKeysKey(), store.Encode(store.GossipKeys{Keys: [][]byte{key}})),
		store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1"})),
		store.Put(store.NodeKey("broken"), []byte("{")),
		store.Put(store.EpochKey("a"), store.Encode(store.Epoch{Epoch: 2})),
		store.Put(store.LiveKey("a"), store.Encode(live)),
	)
	known := until(d, func(k gossip.Known) bool {
		return k.Cluster != "" && len(k.Keys) > 0 && k.Nodes["a"].Live != nil && k.Nodes["a"].Registered && k.Nodes["a"].Epoch.Epoch == 2 && k.Revision == mem.Revision()
	})
	if known.Heard.IsZero() {
		t.Error("it does not say when etcd answered last")
	}
	want := gossip.Known{Cluster: "u", Keys: [][]byte{key}, Fresh: true, Heard: known.Heard, Revision: mem.Revision(), Nodes: map[string]gossip.Node{
		"a": {Name: "a", Registered: true, Description: store.Node{Node: "a", Version: "1"}, Live: &live, Epoch: store.Epoch{Epoch: 2}},
	}}
	if diff := cmp.Diff(want, known, cmpopts.IgnoreFields(gossip.Node{}, "Gone")); diff != "" {
		t.Errorf("known (-want +got):\n%s", diff)
	}
	if !known.Nodes["a"].Gone.IsZero() {
		t.Error("a connected node is gone")
	}
	write(t, mem, store.Delete(store.LiveKey("a")))
	if a := until(d, func(k gossip.Known) bool { return k.Nodes["a"].Live == nil }).Nodes["a"]; a.Gone.IsZero() {
		t.Error("nobody noted when the node was gone")
	}
	write(t, mem, store.Delete(store.GossipKeysKey()), store.Delete(store.NodeKey("a")), store.Delete(store.EpochKey("a")))
	known = until(d, func(k gossip.Known) bool { return len(k.Nodes) == 0 })
	if len(known.Keys) != 1 {
		t.Error("keys that vanished from the store were forgotten")
	}
}
