package storetest

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
)

func (r *trial) grant() store.LeaseID {
	r.t.Helper()
	id, err := r.Grant(r.ctx, 60)
	if err != nil {
		r.t.Fatalf("Grant: %v", err)
	}
	return id
}

func (r *trial) revoke(id store.LeaseID) {
	r.t.Helper()
	if err := r.Revoke(r.ctx, id); err != nil {
		r.t.Fatalf("Revoke: %v", err)
	}
}

// hang puts a key that goes with a lease.
func (r *trial) hang(key string, id store.LeaseID) store.Revision {
	r.t.Helper()
	return r.commit(store.Txn{Then: []store.Op{{Kind: store.OpPut, Key: key, Value: []byte("x"), Lease: id}}}).Revision
}

var leaseTrials = map[string]func(*testing.T, *trial){
	"keys go with their lease, in one revision": func(t *testing.T, r *trial) {
		id := r.grant()
		r.put("/stays", "x")
		r.hang("/l/a", id)
		last := r.hang("/l/b", id)
		w := r.watch(store.Prefix("/l/"), last)
		r.revoke(id)
		for _, ev := range w.events(2) {
			if !ev.Deleted || ev.At != last+1 {
				t.Fatalf("event %+v, want a deletion at %d", ev, last+1)
			}
		}
		r.holds(map[string]string{"/stays": "x"})
	},
	"a later put takes a key off its lease": func(t *testing.T, r *trial) {
		old, next := r.grant(), r.grant()
		r.hang("/l/moved", old)
		r.hang("/l/moved", next)
		r.hang("/l/freed", old)
		r.put("/l/freed", "y")
		r.revoke(old)
		r.holds(map[string]string{"/l/moved": "x", "/l/freed": "y"})
		r.revoke(next)
		r.holds(map[string]string{"/l/freed": "y"})
	},
	"a put under a lease that is gone fails the transaction": func(t *testing.T, r *trial) {
		id := r.grant()
		r.revoke(id)
		_, err := r.Commit(r.ctx, store.Txn{Then: []store.Op{
			store.Put("/other", nil), {Kind: store.OpPut, Key: "/l", Lease: id},
		}})
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Commit: %v, want ErrNotFound", err)
		}
		r.holds(map[string]string{})
	},
	"revoke of an unknown lease": func(t *testing.T, r *trial) {
		id := r.grant()
		r.revoke(id)
		r.revoke(id)
	},
	"keepalive of an unknown lease": func(t *testing.T, r *trial) {
		id := r.grant()
		r.revoke(id)
		if err := r.KeepAlive(r.ctx, id, ignore); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("KeepAlive: %v, want ErrNotFound", err)
		}
	},
	"keepalive ends with its context": func(t *testing.T, r *trial) {
		ctx, cancel := context.WithCancel(r.ctx)
		cancel()
		if err := r.KeepAlive(ctx, r.grant(), ignore); err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("KeepAlive: %v, want nil", err)
		}
	},
	"keepalive notices the end of its lease": func(t *testing.T, r *trial) {
		id, err := r.Grant(r.ctx, 3) // renewed every second
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- r.KeepAlive(r.ctx, id, ignore) }()
		r.revoke(id)
		if err := <-ended; !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("KeepAlive: %v, want ErrNotFound", err)
		}
	},
}

func ignore(store.Revision) {}

// watched pulls events from a watch, one batch after the other.
type watched struct {
	r    *trial
	next func() (store.Batch, error, bool)
}

// watch starts a watch that ends with the test.
func (r *trial) watch(span store.Span, after store.Revision) *watched {
	next, stop := iter.Pull2(r.Watch(r.ctx, span, after))
	r.t.Cleanup(stop)
	return &watched{r: r, next: next}
}

// events waits for n events. Batches of whole revisions are asserted on the
// way.
func (w *watched) events(n int) []store.Event {
	w.r.t.Helper()
	var events []store.Event
	for len(events) < n {
		batch, err, ok := w.next()
		if err != nil || !ok {
			w.r.t.Fatalf("watch ended after %d events: %v", len(events), err)
		}
		if k := len(batch.Events); k > 0 && batch.Events[k-1].At != batch.Revision {
			w.r.t.Fatalf("batch of revision %d ends with an event of %d", batch.Revision, batch.Events[k-1].At)
		}
		events = append(events, batch.Events...)
	}
	return events
}

// fails waits for the watch's error.
func (w *watched) fails() error {
	w.r.t.Helper()
	for {
		_, err, ok := w.next()
		if !ok {
			w.r.t.Fatal("watch ended without an error")
		}
		if err != nil {
			if _, _, more := w.next(); more {
				w.r.t.Fatal("watch went on after an error")
			}
			return err
		}
	}
}

var watchTrials = map[string]func(*testing.T, *trial){
	"history, then what comes": func(t *testing.T, r *trial) {
		first := r.put("/w/a", "1")
		second := r.put("/w/a", "2")
		r.put("/elsewhere", "x")
		gone := r.delete("/w/a")
		w := r.watch(store.Prefix("/w/"), first)
		got := w.events(2)
		fresh := r.put("/w/a", "3")
		got = append(got, w.events(1)...)
		want := []store.Event{
			{Item: store.Item{Key: "/w/a", Value: []byte("2"), Created: first, Modified: second}, At: second},
			{Item: store.Item{Key: "/w/a", Modified: gone}, Deleted: true, At: gone},
			{Item: store.Item{Key: "/w/a", Value: []byte("3"), Created: fresh, Modified: fresh}, At: fresh},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
	},
	"from now on": func(t *testing.T, r *trial) {
		r.put("/w/a", "1")
		rev := r.put("/elsewhere", "x")
		w := r.watch(store.Prefix("/w/"), 0)
		if batch, err, _ := w.next(); err != nil || len(batch.Events) > 0 || batch.Revision != rev {
			t.Fatalf("the first batch is %+v, %v: want an empty one of revision %d", batch, err, rev)
		}
		next := r.put("/w/a", "2")
		if got := w.events(1)[0]; got.At != next {
			t.Fatalf("event of revision %d, want %d", got.At, next)
		}
	},
	"a revision is never split": func(t *testing.T, r *trial) {
		_, start := r.list(everything)
		w := r.watch(store.Prefix("/w/"), start)
		var ops []store.Op
		for i := range 100 {
			ops = append(ops, store.Put("/w/"+hex8(i), nil))
		}
		res := r.commit(store.Txn{Then: ops})
		for _, ev := range w.events(100) {
			if ev.At != res.Revision {
				t.Fatalf("event of revision %d, want %d", ev.At, res.Revision)
			}
		}
	},
	"a history too long for one batch": func(t *testing.T, r *trial) {
		_, start := r.list(everything)
		const n = 1200 // etcd catches up by 1000 revisions
		for range n {
			r.put("/w/a", "x")
		}
		for i, ev := range r.watch(store.Prefix("/w/"), start).events(n) {
			if ev.At != start+store.Revision(i)+1 {
				t.Fatalf("event %d of revision %d, want %d", i, ev.At, start+store.Revision(i)+1)
			}
		}
	},
	"compacted": func(t *testing.T, r *trial) {
		first := r.put("/w/a", "1")
		r.put("/w/a", "2")
		last := r.put("/w/a", "3")
		if err := r.Compact(r.ctx, last); err != nil {
			t.Fatal(err)
		}
		if err := r.watch(store.Prefix("/w/"), first).fails(); !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("Watch: %v, want ErrCompacted", err)
		}
		r.compareGet("/w/a", store.Item{Key: "/w/a", Value: []byte("3"), Created: first, Modified: last})
		w := r.watch(store.Prefix("/w/"), last)
		r.put("/w/b", "1")
		w.events(1)
	},
	"a revision the store never had": func(t *testing.T, r *trial) {
		rev := r.put("/w/a", "1")
		if err := r.watch(store.Prefix("/w/"), rev+1000).fails(); !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("Watch: %v, want ErrCompacted", err)
		}
	},
	"ends with its context": func(t *testing.T, r *trial) {
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		rev := r.put("/w/a", "1")
		for batch, err := range r.Watch(ctx, store.Prefix("/w/"), rev-1) {
			if err != nil {
				t.Fatalf("Watch: %v", err)
			}
			if len(batch.Events) > 0 {
				cancel()
			}
		}
		for _, err := range r.Watch(ctx, store.Prefix("/w/"), rev) {
			t.Fatalf("a watch under an ended context yielded; error %v", err)
		}
	},
}
