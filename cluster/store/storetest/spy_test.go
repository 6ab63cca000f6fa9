//go:build !race

package storetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

func TestSpyRecordsWhoWroteWhat(t *testing.T) {
	spy := storetest.NewSpy(storetest.NewMem())
	one, two := spy.As("one"), spy.As("two")
	commit := func(kv store.KV, txn store.Txn) {
		t.Helper()
		if _, err := kv.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
	}
	commit(one, store.Txn{Then: []store.Op{store.Put("/a", []byte("1")), store.Get("/a")}})
	commit(two, store.Txn{
		If:   []store.Cond{store.Absent("/a")},
		Then: []store.Op{store.Put("/never", nil)},
		Else: []store.Op{{Kind: store.OpNested, Nested: &store.Txn{Then: []store.Op{store.Delete("/a")}}}},
	})
	commit(two, store.Txn{Then: []store.Op{store.Get("/a")}})
	want := []storetest.Write{
		{Writer: "one", Kind: store.OpPut, Key: "/a", Value: []byte("1")},
		{Writer: "two", Kind: store.OpDelete, Key: "/a"},
	}
	if diff := cmp.Diff(want, spy.Writes()); diff != "" {
		t.Fatalf("writes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], spy.Writes("two")); diff != "" {
		t.Fatalf("writes of two (-want +got):\n%s", diff)
	}
	spy.Reset()
	if got := spy.Writes(); len(got) != 0 {
		t.Fatalf("after Reset: %v", got)
	}
}

// Each fault does what it says, on the wire and on the store alike.
func TestFaults(t *testing.T) {
	for name, open := range map[string]func() (store.KV, *storetest.Faults){
		"mem":  func() (store.KV, *storetest.Faults) { m := storetest.NewMem(); return m, &m.Faults },
		"wire": func() (store.KV, *storetest.Faults) { w := storetest.NewWire(storetest.NewMem()); return w, &w.Faults },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kv, faults := open()
				tryFaults(t, kv, faults)
			})
		})
	}
}

func tryFaults(t *testing.T, kv store.KV, faults *storetest.Faults) {
	put := func(key string) error {
		_, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(key, nil)}})
		return err
	}
	unavailable := func(err error) {
		t.Helper()
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("%v, want ErrUnavailable", err)
		}
	}
	there := func(key string, want bool) {
		t.Helper()
		_, err := kv.Get(t.Context(), key)
		if (err == nil) != want {
			t.Fatalf("%s is there: %v (%v), want %v", key, err == nil, err, want)
		}
	}
	faults.DropRequests(1)
	unavailable(put("/request"))
	there("/request", false)
	faults.DropReplies(1)
	unavailable(put("/reply"))
	there("/reply", true)
	faults.Down()
	unavailable(put("/down"))
	faults.Up()
	there("/down", false)
	faults.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err := kv.Get(ctx, "/reply")
	cancel()
	unavailable(err)
	faults.Up()
	faults.Slow(time.Minute)
	began := time.Now()
	there("/reply", true)
	if took := time.Since(began); took < time.Minute {
		t.Fatalf("a slow call took %s", took)
	}
	faults.Slow(0)
}

func TestAdvanceEndsLeasesNobodyKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		hang := func(key string) store.LeaseID {
			id, err := mem.Grant(t.Context(), 15)
			if err != nil {
				t.Fatal(err)
			}
			put := store.Put(key, nil)
			put.Lease = id
			if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{put}}); err != nil {
				t.Fatal(err)
			}
			return id
		}
		hang("/left")
		kept := hang("/kept")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- mem.KeepAlive(ctx, kept, func(store.Revision) {}) }()
		synctest.Wait()
		mem.Advance(14 * time.Second)
		if items, _, _ := mem.List(t.Context(), store.Prefix("/")); len(items) != 2 {
			t.Fatalf("before the end: %v", items)
		}
		mem.Advance(time.Second)
		items, _, _ := mem.List(t.Context(), store.Prefix("/"))
		if len(items) != 1 || items[0].Key != "/kept" {
			t.Fatalf("after it: %v, want /kept", items)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
