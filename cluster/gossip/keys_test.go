package gossip_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// keysOf reads the keys a store holds.
func keysOf(t *testing.T, kv store.KV) [][]byte {
	t.Helper()
	item, err := kv.Get(context.Background(), store.GossipKeysKey())
	if err != nil {
		t.Fatal(err)
	}
	record, err := store.Decode[store.GossipKeys](item)
	if err != nil {
		t.Fatal(err)
	}
	return record.Keys
}

func TestEnsureKeysMakesOneKey(t *testing.T) {
	mem := storetest.NewMem()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := gossip.EnsureKeys(t.Context(), mem, rand.Reader); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first := keysOf(t, mem)
	if len(first) != 1 || len(first[0]) != 32 {
		t.Fatalf("the store holds %v, want one key of 32 bytes", first)
	}
	if err := gossip.EnsureKeys(t.Context(), mem, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, keysOf(t, mem)); diff != "" {
		t.Errorf("another start changed the key (-want +got):\n%s", diff)
	}
}

func TestEnsureKeysYieldsToTheFirst(t *testing.T) {
	mem := storetest.NewMem()
	theirs := [][]byte{bytes.Repeat([]byte{9}, 32)}
	kv := &storetest.Racing{Mem: mem, Op: store.Put(store.GossipKeysKey(), store.Encode(store.GossipKeys{Keys: theirs}))}
	if err := gossip.EnsureKeys(t.Context(), kv, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, keysOf(t, mem)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// rotating is a rotation whose acknowledgements the test gives; it records
// what the store held each time they were asked for.
func rotating(t *testing.T, kv store.KV, missing func(keys [][]byte) []string) (gossip.Rotation, *[][][]byte) {
	var seen [][][]byte
	return gossip.Rotation{
		KV:     kv,
		Random: rand.Reader,
		Unacknowledged: func(ring uint32) []string {
			keys := keysOf(t, kv)
			if gossip.RingID(keys) != ring {
				t.Errorf("asked about ring %d, the store holds %d", ring, gossip.RingID(keys))
			}
			seen = append(seen, keys)
			return missing(keys)
		},
	}, &seen
}

func nobody([][]byte) []string { return nil }

func TestRotateStepByStep(t *testing.T) {
	mem := storetest.NewMem()
	if err := gossip.EnsureKeys(t.Context(), mem, rand.Reader); err != nil {
		t.Fatal(err)
	}
	old := keysOf(t, mem)[0]
	later := store.Put(store.GossipKeysKey(), store.Encode(store.GossipKeys{Keys: [][]byte{old}, Unknown: `{"later":1}`}))
	if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{later}}); err != nil {
		t.Fatal(err)
	}
	r, seen := rotating(t, mem, nobody)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := keysOf(t, mem)[0]
	if it, err := mem.Get(t.Context(), store.GossipKeysKey()); err != nil || !bytes.Contains(it.Value, []byte(`"later":1`)) {
		t.Errorf("what a newer gvlan wrote is gone: %s, %v", it.Value, err)
	}
	if bytes.Equal(old, fresh) {
		t.Error("the key did not change")
	}
	want := [][][]byte{{old, fresh}, {fresh, old}, {fresh}}
	if diff := cmp.Diff(want, *seen); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestRotateWaitsForEverybody(t *testing.T) {
	mem := storetest.NewMem()
	if err := gossip.EnsureKeys(t.Context(), mem, rand.Reader); err != nil {
		t.Fatal(err)
	}
	old := keysOf(t, mem)[0]
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := rotating(t, mem, func(keys [][]byte) []string {
		if bytes.Equal(keys[0], old) {
			return nil
		}
		return []string{"slow"}
	})
	r.Progress = func(_ string, missing []string) {
		if slices.Contains(missing, "slow") {
			cancel()
		}
	}
	err := r.Run(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "use the new key: still waiting for slow") {
		t.Errorf("got %v", err)
	}
	half := keysOf(t, mem)
	if len(half) != 2 || !bytes.Equal(half[1], old) {
		t.Fatalf("%d keys are left, want the new and the old", len(half))
	}
	// Another run finishes this one before it makes a third key.
	again, seen := rotating(t, mem, nobody)
	if err := again.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := keysOf(t, mem)[0]
	want := [][][]byte{half, half[:1], {half[0], third}, {third, half[0]}, {third}}
	if diff := cmp.Diff(want, *seen); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestRotateYieldsToAnother(t *testing.T) {
	mem := storetest.NewMem()
	if err := gossip.EnsureKeys(t.Context(), mem, rand.Reader); err != nil {
		t.Fatal(err)
	}
	theirs := store.Encode(store.GossipKeys{Keys: [][]byte{bytes.Repeat([]byte{9}, 32)}})
	r, _ := rotating(t, mem, nobody)
	r.KV = &storetest.Racing{Mem: mem, Op: store.Put(store.GossipKeysKey(), theirs)}
	err := r.Run(t.Context())
	if err == nil || err.Error() != "add the new key: somebody else changes the gossip keys at the same time" {
		t.Errorf("got %v", err)
	}
}
