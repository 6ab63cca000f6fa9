//go:build !race

package ipam

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/trouble"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
)

// guarded is a store that may refuse to be watched.
type guarded struct {
	store.KV
	refused bool
}

func (g *guarded) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	if !g.refused {
		return g.KV.Watch(ctx, span, after)
	}
	return func(yield func(store.Batch, error) bool) { yield(store.Batch{}, errors.New("permission denied")) }
}

// TestARefusalIsToldOnce, and once that it is over.
func TestARefusalIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		kv := &guarded{KV: storetest.NewMem(), refused: true}
		u := &upkeep{Node: &node.Node{
			Config: node.Config{KV: kv, Log: log}, Troubles: trouble.NewBook(time.Now, log), Mirrors: &mirror.Mirrors{},
		}}
		ctx, cancel := context.WithCancel(t.Context())
		var found node.Suspects[string]
		u.followKeys(ctx, store.MACsSpan(), &found, func() map[string]string { return nil })
		time.Sleep(10 * followAgain)
		if got := strings.Count(said.String(), "permission denied"); got != 1 {
			t.Errorf("told %d times, want once:\n%s", got, &said)
		}
		kv.refused = false
		time.Sleep(2 * followAgain)
		synctest.Wait()
		if !strings.Contains(said.String(), "works again") {
			t.Errorf("that it is over is not told:\n%s", &said)
		}
		cancel()
		u.Mirrors.Work.Wait()
	})
}

// TestARefusedFollowerFollowsAgain: a right that was taken away may come back.
func TestARefusedFollowerFollowsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		refusals := 2
		done := make(chan struct{})
		follows := 0
		go func() {
			defer close(done)
			again(ctx, func() error {
				follows++
				if refusals--; refusals >= 0 {
					return errors.New("permission denied")
				}
				<-ctx.Done()
				return nil
			})
		}()
		time.Sleep(2*followAgain + time.Second)
		synctest.Wait()
		if follows != 3 {
			t.Errorf("followed %d times, want the third to stand", follows)
		}
		cancel()
		<-done
	})
}
