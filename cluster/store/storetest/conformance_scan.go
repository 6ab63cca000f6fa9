package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
)

// manyKeys is more than a page of any store's has.
const manyKeys = 10_000

var errEnough = errors.New("enough")

var scanTrials = map[string]func(*testing.T, *trial){
	"scan of nothing": func(t *testing.T, r *trial) {
		r.put("/b", "x")
		for _, parts := range []store.Parts{store.Whole, store.KeysOnly} {
			got, rev := r.scan(store.Prefix("/a/"), parts, nil)
			if len(got) != 0 {
				t.Fatalf("%v, want nothing", got)
			}
			if next := r.put("/b", "x"); next != rev+1 {
				t.Fatalf("Scan is true of revision %d, the next write is %d", rev, next)
			}
		}
	},
	"scan is what list is": func(t *testing.T, r *trial) {
		for _, key := range []string{"/b/2", "/a", "/b/1", "/b0", "/b/10"} {
			r.put(key, "x"+key)
		}
		r.put("/b/2", "changed")
		want, _ := r.list(store.Prefix("/b/"))
		got, _ := r.scan(store.Prefix("/b/"), store.Whole, nil)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("whole items (-List +Scan):\n%s", diff)
		}
		keys, _ := r.scan(store.Prefix("/b/"), store.KeysOnly, nil)
		if diff := cmp.Diff(withoutValues(want), keys); diff != "" {
			t.Fatalf("keys (-List +Scan):\n%s", diff)
		}
	},
	"pages of one revision": func(t *testing.T, r *trial) {
		r.fill()
		r.put("/many/"+hex8(manyKeys-2), "changed")
		for _, parts := range []store.Parts{store.Whole, store.KeysOnly} {
			want, _ := r.list(store.Prefix("/many/"))
			if parts == store.KeysOnly {
				want = withoutValues(want)
			}
			var written store.Revision
			got, rev := r.scan(store.Prefix("/many/"), parts, func() {
				if written == 0 { // after the first page, of what comes after it
					r.put("/many/"+hex8(manyKeys-1), "changed after the first page")
					r.delete("/many/" + hex8(manyKeys-3))
					written = r.put("/many/"+hex8(manyKeys), "made after the first page")
				}
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("Scan while somebody writes (-before +got):\n%s", diff)
			}
			if rev >= written-2 {
				t.Fatalf("pages of before revision %d are said to be of %d", written-2, rev)
			}
			r.put("/many/"+hex8(manyKeys-3), "back")
			r.delete("/many/" + hex8(manyKeys))
		}
	},
	"an error of page's ends the scan": func(t *testing.T, r *trial) {
		r.fill()
		calls := 0
		_, err := r.Scan(r.ctx, store.Prefix("/many/"), store.KeysOnly, func([]store.Item) error {
			calls++
			return errEnough
		})
		if !errors.Is(err, errEnough) || calls != 1 {
			t.Fatalf("Scan: %v after %d pages, want page's error after one", err, calls)
		}
	},
	"a context that ends between two pages": func(t *testing.T, r *trial) {
		r.fill()
		ctx, cancel := context.WithCancel(r.ctx)
		calls := 0
		_, err := r.Scan(ctx, store.Prefix("/many/"), store.KeysOnly, func([]store.Item) error {
			calls++
			cancel()
			return nil
		})
		if !errors.Is(err, store.ErrUnavailable) || calls != 1 {
			t.Fatalf("Scan: %v after %d pages, want ErrUnavailable after one", err, calls)
		}
	},
	"a revision that is compacted between two pages": func(t *testing.T, r *trial) {
		r.fill()
		_, err := r.Scan(r.ctx, store.Prefix("/many/"), store.KeysOnly, func([]store.Item) error {
			return r.Compact(r.ctx, r.put("/k", "x"))
		})
		if !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("Scan: %v, want ErrCompacted", err)
		}
	},
}

// scan reads a span by pages; after runs after each.
func (r *trial) scan(span store.Span, parts store.Parts, after func()) (all []store.Item, rev store.Revision) {
	r.t.Helper()
	rev, err := r.Scan(r.ctx, span, parts, func(items []store.Item) error {
		if len(items) == 0 {
			r.t.Error("Scan: an empty page")
		}
		all = append(all, items...)
		if after != nil {
			after()
		}
		return nil
	})
	if err != nil {
		r.t.Fatalf("Scan: %v", err)
	}
	return all, rev
}

// fill makes many keys.
func (r *trial) fill() {
	r.t.Helper()
	for at := 0; at < manyKeys; {
		var ops []store.Op
		for ; at < manyKeys && len(ops) < 100; at++ {
			ops = append(ops, store.Put("/many/"+hex8(at), []byte("x")))
		}
		r.commit(store.Txn{Then: ops})
	}
}

func withoutValues(items []store.Item) []store.Item {
	keys := make([]store.Item, len(items))
	for i, it := range items {
		it.Value = nil
		keys[i] = it
	}
	return keys
}
