package storetest

import (
	"context"
	"errors"
	"testing"

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
