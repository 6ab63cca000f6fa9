package agent

import (
	"context"
	"testing"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// TestRankWithoutGossip: etcd alone says whose containers go last, and says
// nothing while it does not answer.
func TestRankWithoutGossip(t *testing.T) {
	mem := storetest.NewMem()
	var ops []store.Op
	for _, node := range []string{"self", "there", "gone"} {
		ops = append(ops, store.Put(store.NodeKey(node), store.Encode(store.Node{Node: node})))
	}
	ops = append(ops, store.Put(store.LiveKey("there"), store.Encode(store.Live{})))
	if _, err := mem.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
	g := &nodes{self: Identity{Node: "self"}, directory: cluster.NewDirectory(nil)}
	ranks := func() (all [4]int) {
		for i, node := range []string{"self", "there", "gone", "unknown"} {
			all[i] = g.rank(node)
		}
		return all
	}
	if got := ranks(); got != [4]int{} {
		t.Errorf("before etcd answered the ranks are %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.directory.Run(ctx, mem) }()
	for {
		changed := g.directory.Changed()
		if known := g.directory.Known().Nodes; known["gone"].Registered && known["there"].Live != nil {
			break
		}
		<-changed
	}
	if got, want := ranks(), [4]int{0, 0, 2, 0}; got != want {
		t.Errorf("ranks are %v, want %v", got, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
