package description_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/description"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

func write(t *testing.T, kv store.KV, ops ...store.Op) {
	t.Helper()
	if _, err := kv.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
}

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
		if err := description.Drain(t.Context(), mem, "a", drained); err != nil {
			t.Fatal(err)
		}
		want := string(store.Encode(store.Node{Node: "a", Version: "1", Drained: drained}))
		if diff := cmp.Diff(want, noted(t, mem)); diff != "" {
			t.Errorf("drained %v (-want +got):\n%s", drained, diff)
		}
	}
	if err := description.Drain(t.Context(), mem, "nobody", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want %v", err, store.ErrNotFound)
	}
}

func TestDrainKeepsWhatTheNodeWroteMeanwhile(t *testing.T) {
	mem := storetest.NewMem()
	write(t, mem, store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1"})))
	kv := &storetest.Racing{Mem: mem, Op: store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "2"}))}
	if err := description.Drain(t.Context(), kv, "a", true); err != nil {
		t.Fatal(err)
	}
	want := string(store.Encode(store.Node{Node: "a", Version: "2", Drained: true}))
	if diff := cmp.Diff(want, noted(t, mem)); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

// A node's description that meets a drain on its way is written all the same,
// with the drain.
func TestPublishKeepsADrain(t *testing.T) {
	for name, kv := range map[string]*storetest.Racing{
		"before":    {Mem: storetest.NewMem(), Spare: 8},
		"meanwhile": {Mem: storetest.NewMem(), Op: store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1", Drained: true}))},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, kv.Mem, store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1", Drained: name == "before"})))
			if err := description.Publish(t.Context(), kv, store.Node{Node: "a", Version: "2"}); err != nil {
				t.Fatal(err)
			}
			want := string(store.Encode(store.Node{Node: "a", Version: "2", Drained: true}))
			if diff := cmp.Diff(want, noted(t, kv)); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatIsUnknownIsKept, and what only a newer gvlan can read is left alone.
func TestWhatIsUnknownIsKept(t *testing.T) {
	mem := storetest.NewMem()
	write(t, mem, store.Put(store.NodeKey("a"), []byte(`{"node":"a","version":"2","later":1}`)))
	if err := description.Drain(t.Context(), mem, "a", true); err != nil {
		t.Fatal(err)
	}
	if err := description.Publish(t.Context(), mem, store.Node{Node: "a", Version: "1"}); err != nil {
		t.Fatal(err)
	}
	want := string(store.Encode(store.Node{Node: "a", Version: "1", Drained: true, Unknown: `{"later":1}`}))
	if diff := cmp.Diff(want, noted(t, mem)); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	const newer = `{"schema":2,"node":"a"}`
	write(t, mem, store.Put(store.NodeKey("a"), []byte(newer)))
	for doing, err := range map[string]error{
		"drain":   description.Drain(t.Context(), mem, "a", true),
		"publish": description.Publish(t.Context(), mem, store.Node{Node: "a"}),
	} {
		if got := noted(t, mem); !errors.Is(err, store.ErrNewer) || got != newer {
			t.Errorf("%s: %v, and the record is %s", doing, err, got)
		}
	}
}

// The first description, and one in place of a record that cannot be read.
func TestPublishBegins(t *testing.T) {
	mem := storetest.NewMem()
	for range 2 {
		if err := description.Publish(t.Context(), mem, store.Node{Node: "a"}); err != nil {
			t.Fatal(err)
		}
		if got, want := noted(t, mem), string(store.Encode(store.Node{Node: "a"})); got != want {
			t.Errorf("the record is %s, want %s", got, want)
		}
		write(t, mem, store.Put(store.NodeKey("a"), []byte("{")))
	}
}

func TestLeave(t *testing.T) {
	mem := storetest.NewMem()
	write(t, mem, store.Put(store.NodeKey("a"), store.Encode(store.Node{Node: "a", Version: "1", Drained: true})))
	for _, leaving := range []bool{true, true, false} {
		if err := description.Leave(t.Context(), mem, "a", leaving); err != nil {
			t.Fatal(err)
		}
		if err := description.Publish(t.Context(), mem, store.Node{Node: "a", Version: "2"}); err != nil {
			t.Fatal(err)
		}
		want := string(store.Encode(store.Node{Node: "a", Version: "2", Drained: true, Leaving: leaving}))
		if diff := cmp.Diff(want, noted(t, mem)); diff != "" {
			t.Errorf("leaving %v (-want +got):\n%s", leaving, diff)
		}
	}
	if err := description.Leave(t.Context(), mem, "nobody", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want %v", err, store.ErrNotFound)
	}
}
