package group_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/group"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// door is a store whose commits wait while it is shut.
type door struct {
	store.KV
	open func(context.Context, store.Txn) error // nil: nothing is in the way

	mu   sync.Mutex
	txns []store.Txn
}

func (d *door) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	d.mu.Lock()
	d.txns = append(d.txns, txn)
	d.mu.Unlock()
	if d.open != nil {
		if err := d.open(ctx, txn); err != nil {
			return store.Result{}, err
		}
	}
	return d.KV.Commit(ctx, txn)
}

func (d *door) sent() []store.Txn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.txns
}

func take(key string) store.Txn {
	return store.Txn{
		Gives: true,
		If:    []store.Cond{store.Absent(key)},
		Then:  []store.Op{store.Put(key, []byte("x"))},
		Else:  []store.Op{store.Get(key)},
	}
}

// grouped is a group's store for the suite.
type grouped struct {
	*group.Group
	store.Leaser
	compact func(context.Context, store.Revision) error
}

func (g grouped) Compact(ctx context.Context, rev store.Revision) error { return g.compact(ctx, rev) }

func TestGroupIsAStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) storetest.Subject {
		mem := storetest.NewMem()
		return grouped{group.New(mem), mem, mem.Compact}
	})
}

// On a real etcd many senders that want their own share few transactions, and
// of those that want the same one has it.
func TestManySendersOnEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	self := session.New(client, session.Identity{Node: "a", Install: "one", Boot: "boot"}, &storetest.Past{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = self.Run(ctx) })
	<-self.Opened()

	far := &door{KV: self}
	g := group.New(far)
	const senders, each = 64, 10
	var work sync.WaitGroup
	won := make([]int, each)
	var mu sync.Mutex
	for i := range senders {
		work.Go(func() {
			for j := range each {
				res, err := g.Commit(t.Context(), take(fmt.Sprintf("/own/%d/%d", i, j)))
				if err != nil || !res.Done {
					t.Errorf("%d/%d: %+v, %v", i, j, res, err)
				}
				res, err = g.Commit(t.Context(), take(fmt.Sprintf("/shared/%d", j)))
				if err != nil {
					t.Error(err)
				}
				if res.Done {
					mu.Lock()
					won[j]++
					mu.Unlock()
				} else if it, ok := res.Item(fmt.Sprintf("/shared/%d", j)); !ok || it.Created == 0 {
					t.Errorf("the loser found %+v", res)
				}
			}
		})
	}
	work.Wait()
	for j, n := range won {
		if n != 1 {
			t.Errorf("/shared/%d was given %d times", j, n)
		}
	}
	items, _, err := self.List(t.Context(), store.Prefix("/own/"))
	if err != nil || len(items) != senders*each {
		t.Errorf("%d keys, want %d (%v)", len(items), senders*each, err)
	}
	if n := len(far.sent()); n >= 2*senders*each {
		t.Errorf("%d transactions for %d requests", n, 2*senders*each)
	} else {
		t.Logf("%d transactions for %d requests", n, 2*senders*each)
	}
}
