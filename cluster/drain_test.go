package cluster_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// noted is the record of node a as a store holds it.
func noted(t *testing.T, kv store.KV) string {
	t.Helper()
	it, err := kv.Get(t.Context(), store.NodeKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	return string(it.Value)
}

func TestDrain(t *testing.T) {
	mem := storetest.NewMem()
	write(t, mem, store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1"})))
	for _, drained := range []bool{true, true, false} {
		if err := cluster.Drain(t.Context(), mem, "a", drained); err != nil {
			t.Fatal(err)
		}
		want := string(store.Encode(store.Node{Node: "a", Version: "1", Drained: drained}))
		if diff := cmp.Diff(want, noted(t, mem)); diff != "" {
			t.Errorf("drained %v (-want +got):\n%s", drained, diff)
		}
	}
	if err := cluster.Drain(t.Context(), mem, "nobody", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want %v", err, store.ErrNotFound)
	}
}

func TestDrainKeepsWhatTheNodeWroteMeanwhile(t *testing.T) {
	mem := storetest.NewMem()
	write(t, mem, store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1"})))
	kv := &storetest.Racing{Mem: mem, Op: store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "2"}))}
	if err := cluster.Drain(t.Context(), kv, "a", true); err != nil {
		t.Fatal(err)
	}
	want := string(store.Encode(store.Node{Node: "a", Version: "2", Drained: true}))
	if diff := cmp.Diff(want, noted(t, mem)); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}
