//go:build !race

package session_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// silent is a store whose watches say nothing after they stand, as etcd's do
// that wait for a revision which a store that lost its past has yet to reach.
type silent struct{ *storetest.Mem }

func (s silent) Watch(ctx context.Context, _ store.Span, _ store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		if yield(store.Batch{Revision: s.Revision()}, nil) {
			<-ctx.Done()
		}
	}
}

func TestMirrorsOfALostStoreListAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := start(t, silent{mem}, "one", &storetest.Past{})
		if err := storetest.Put(t.Context(), a, "/networks/lan1"); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		lists := make(chan int, 8)
		done := make(chan error, 1)
		go func() {
			done <- store.Follow(ctx, a, store.NetworksSpan(), func(c store.Change) {
				if c.Reset {
					lists <- len(c.Items)
				}
			})
		}()
		if n := <-lists; n != 1 {
			t.Fatalf("the mirror begins with %d networks, want 1", n)
		}
		mem.Wipe()
		lost := time.Now()
		for a.Epoch() < 2 { // what the session writes itself tells it
			time.Sleep(time.Second)
		}
		if n := <-lists; n != 0 {
			t.Errorf("the mirror lists %d networks anew, want none", n)
		}
		if took := time.Since(lost); took > time.Minute {
			t.Errorf("the mirror saw the loss after %s", took)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		a.leave()
	})
}
