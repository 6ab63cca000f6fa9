package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/trouble"
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

// TestAParentThatAsksNothingIsToldOnce: quarantines are tried every few seconds.
func TestAParentThatAsksNothingIsToldOnce(t *testing.T) {
	mem, said := storetest.NewMem(), &bytes.Buffer{}
	log := slog.New(slog.NewTextHandler(said, nil))
	directory := cluster.NewDirectory(nil)
	node := store.Node{Node: "h1", Networks: []store.NodeNetwork{{UUID: "net", Parent: "eth0"}}}
	if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.NodeKey("h1"), store.Encode(node))}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var follow sync.WaitGroup
	defer follow.Wait()
	defer stop()
	follow.Go(func() { _ = directory.Run(ctx, mem) })
	eventually(t, "the directory knows the node", func() bool { return len(directory.Known().Nodes["h1"].Description.Networks) == 1 })
	failed := errors.New("network is down")
	l := lan{directory: directory, node: "h1", troubles: trouble.NewBook(time.Now, log), askAt: func(context.Context, string, []netip.Addr) ([]netip.Addr, error) {
		return nil, failed
	}}
	for range 5 {
		_, unasked, err := l.ask(t.Context(), []store.Endpoint{{Network: "net", IPv4: "192.0.2.1/24"}, {Network: "elsewhere", IPv4: "192.0.2.2/24"}})
		if err != nil || len(unasked) != 2 {
			t.Fatalf("%v were not asked for, %v; want both", unasked, err)
		}
	}
	if strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "by parent eth0") {
		t.Errorf("said within five tries:\n%s", said)
	}
	failed = nil
	if _, unasked, err := l.ask(t.Context(), []store.Endpoint{{Network: "net", IPv4: "192.0.2.1/24"}}); err != nil || len(unasked) > 0 {
		t.Fatalf("%v were not asked for, %v", unasked, err)
	}
	if !strings.Contains(said.String(), "works again") {
		t.Errorf("that it is over is not said:\n%s", said)
	}
}
