package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
)

// Subject is a store that the suite can try. Compact forgets the history up
// to a revision.
type Subject interface {
	store.Backend
	Compact(ctx context.Context, rev store.Revision) error
}

// Run holds a store to what the rest of gvlan relies on. open returns an
// empty store, or one whose keys nobody else uses, and cleans up after the
// test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, group := range []map[string]func(*testing.T, *trial){
		itemTrials, scanTrials, txnTrials, nestedTrials, watchTrials, leaseTrials,
	} {
		for name, try := range group {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a guard, not a measure
				defer cancel()
				try(t, &trial{Subject: open(t), t: t, ctx: ctx})
			})
		}
	}
}

// trial is one test of a store. Its methods fail the test on any error.
type trial struct {
	Subject
	t   *testing.T
	ctx context.Context
}

var everything = store.Prefix("/") //nolint:gochecknoglobals // a value

func (r *trial) put(key, value string) store.Revision {
	r.t.Helper()
	return r.commit(store.Txn{Then: []store.Op{store.Put(key, []byte(value))}}).Revision
}

func (r *trial) delete(key string) store.Revision {
	r.t.Helper()
	return r.commit(store.Txn{Then: []store.Op{store.Delete(key)}}).Revision
}

func (r *trial) commit(txn store.Txn) store.Result {
	r.t.Helper()
	res, err := r.Commit(r.ctx, txn)
	if err != nil {
		r.t.Fatalf("Commit: %v", err)
	}
	return res
}

func (r *trial) list(span store.Span) ([]store.Item, store.Revision) {
	r.t.Helper()
	items, rev, err := r.List(r.ctx, span)
	if err != nil {
		r.t.Fatalf("List: %v", err)
	}
	return items, rev
}

// holds compares the whole store with keys and values.
func (r *trial) holds(want map[string]string) {
	r.t.Helper()
	items, _ := r.list(everything)
	got := map[string]string{}
	for _, it := range items {
		got[it.Key] = string(it.Value)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Fatalf("store (-want +got):\n%s", diff)
	}
}

var itemTrials = map[string]func(*testing.T, *trial){
	"get of an absent key": func(t *testing.T, r *trial) {
		if _, err := r.Get(r.ctx, "/absent"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Get: %v, want ErrNotFound", err)
		}
	},
	"revisions of a key": func(t *testing.T, r *trial) {
		made := r.put("/k", "1")
		changed := r.put("/k", "2")
		if changed <= made {
			t.Fatalf("revision went from %d to %d", made, changed)
		}
		r.compareGet("/k", store.Item{Key: "/k", Value: []byte("2"), Created: made, Modified: changed})
		r.delete("/k")
		again := r.put("/k", "3")
		r.compareGet("/k", store.Item{Key: "/k", Value: []byte("3"), Created: again, Modified: again})
	},
	"the same value is a change": func(t *testing.T, r *trial) {
		first := r.put("/k", "1")
		if second := r.put("/k", "1"); second != first+1 {
			t.Fatalf("revision %d after %d", second, first)
		}
	},
	"list is ordered and half open": func(t *testing.T, r *trial) {
		for _, key := range []string{"/b/2", "/a", "/b/1", "/b0", "/b/10"} {
			r.put(key, "x")
		}
		items, rev := r.list(store.Prefix("/b/"))
		var keys []string
		for _, it := range items {
			keys = append(keys, it.Key)
		}
		if diff := cmp.Diff([]string{"/b/1", "/b/10", "/b/2"}, keys); diff != "" {
			t.Fatalf("keys (-want +got):\n%s", diff)
		}
		if items, _ := r.list(store.Span{From: "/a", To: "/b/1"}); len(items) != 1 {
			t.Fatalf("half open span has %d items, want 1", len(items))
		}
		if next := r.put("/c", "x"); next != rev+1 {
			t.Fatalf("List is true of revision %d, the next write is %d", rev, next)
		}
	},
	"list of many": func(t *testing.T, r *trial) {
		r.fill()
		items, _ := r.list(store.Prefix("/many/"))
		if len(items) != manyKeys || items[manyKeys-1].Key != "/many/"+hex8(manyKeys-1) {
			t.Fatalf("%d items, want %d", len(items), manyKeys)
		}
		r.listsOneRevision("/many/"+hex8(0), "/many/"+hex8(manyKeys-1))
	},
	"ended context": func(t *testing.T, r *trial) {
		ended, cancel := context.WithCancel(r.ctx)
		cancel()
		_, err := r.Commit(ended, store.Txn{Then: []store.Op{store.Put("/k", nil)}})
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Commit: %v, want ErrUnavailable", err)
		}
		if _, err := r.Get(ended, "/k"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Get: %v, want ErrUnavailable", err)
		}
	},
}

// listsOneRevision writes the first and the last key of a long span together
// while it lists: a List that mixes revisions shows them apart.
func (r *trial) listsOneRevision(first, last string) {
	r.t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			value := []byte(hex8(n))
			if _, err := r.Commit(r.ctx, store.Txn{Then: []store.Op{store.Put(first, value), store.Put(last, value)}}); err != nil {
				r.t.Errorf("Commit: %v", err)
				return
			}
		}
	}()
	for range 20 {
		items, _ := r.list(store.Prefix("/many/"))
		if a, b := string(items[0].Value), string(items[len(items)-1].Value); a != b {
			r.t.Errorf("one List shows write %s and write %s", a, b)
			break
		}
	}
	close(stop)
	<-done
}

func (r *trial) compareGet(key string, want store.Item) {
	r.t.Helper()
	got, err := r.Get(r.ctx, key)
	if err != nil {
		r.t.Fatalf("Get: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Fatalf("%s (-want +got):\n%s", key, diff)
	}
}

func hex8(n int) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 8)
	for i := range out {
		out[7-i] = digits[n>>(4*i)&15]
	}
	return string(out)
}
