//go:build !race

package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// keyMirror is a mirror that FollowKeys keeps: of keys and revisions.
type keyMirror struct {
	mirror
	listing map[string]store.Item // since Begin; nil: none is under way
	begun   int
	largest int // page
	page    func()
}

func newKeyMirror() *keyMirror { return &keyMirror{mirror: mirror{news: make(chan struct{}, 1)}} }

// Begin implements store.Following.
func (m *keyMirror) Begin() {
	m.begun++
	m.listing = map[string]store.Item{}
}

// Page implements store.Following.
func (m *keyMirror) Page(items []store.Item) {
	for _, it := range items {
		if it.Value != nil {
			m.wrong = fmt.Errorf("%s came with a value", it.Key)
		}
		m.listing[it.Key] = it
	}
	m.largest = max(m.largest, len(items))
	if m.page != nil {
		m.page()
	}
}

// Apply implements store.Following.
func (m *keyMirror) Apply(c store.Change) {
	if len(c.Items) > 0 || c.Reset && m.listing == nil {
		m.wrong = fmt.Errorf("change %+v: want items in pages after Begin, and none here", c)
	}
	if c.Reset {
		for _, it := range m.listing {
			c.Items = append(c.Items, it)
		}
		m.listing = nil
	}
	for i := range c.Events {
		c.Events[i].Item.Value = nil
	}
	m.apply(c)
}

// keysOf takes the values away.
func keysOf(items []store.Item) []store.Item {
	for i := range items {
		items[i].Value = nil
	}
	return items
}

func followKeys(ctx context.Context, kv store.KV, span store.Span, m *keyMirror) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- store.FollowKeys(ctx, kv, span, m) }()
	return func() error {
		cancel()
		return <-done
	}
}

// fill makes n keys below /m/.
func fill(t *testing.T, kv store.KV, n int) {
	t.Helper()
	for at := 0; at < n; {
		var ops []store.Op
		for ; at < n && len(ops) < 100; at++ {
			ops = append(ops, store.Put(fmt.Sprintf("/m/%06d", at), []byte("x")))
		}
		if _, err := kv.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
	}
}

// What somebody writes between two pages of a listing comes after it, once.
func TestKeysThatChangeWhileTheyAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		mem.PageSize = 10
		fill(t, mem, 95)
		m := newKeyMirror()
		pages := 0
		m.page = func() {
			pages++
			_, _ = mem.Commit(t.Context(), store.Txn{Then: []store.Op{
				store.Delete(fmt.Sprintf("/m/%06d", pages)),    // listed already
				store.Delete(fmt.Sprintf("/m/%06d", 90-pages)), // not yet
				store.Put(fmt.Sprintf("/m/made%d", pages), nil),
			}})
		}
		stop := followKeys(t.Context(), mem, store.Prefix("/m/"), m)
		synctest.Wait()
		items, _, _ := mem.List(t.Context(), store.Prefix("/m/"))
		if diff := m.differs(keysOf(items)); diff != "" {
			t.Errorf("mirror (-store +mirror):\n%s", diff)
		}
		if m.wrong != nil || pages != 10 || m.largest != 10 {
			t.Errorf("%d pages of up to %d keys, %v; want 10 of 10", pages, m.largest, m.wrong)
		}
		if err := stop(); err != nil {
			t.Fatalf("FollowKeys: %v", err)
		}
	})
}

// A listing that breaks off begins anew, and nothing of it is left.
func TestAListingOfKeysThatBreaksOff(t *testing.T) {
	for name, happen := range map[string]func(*storetest.Wire, *storetest.Mem){
		"down":     func(w *storetest.Wire, _ *storetest.Mem) { w.Down() },
		"replaced": func(_ *storetest.Wire, m *storetest.Mem) { m.Wipe() },
		"compacted": func(_ *storetest.Wire, m *storetest.Mem) {
			_ = storetest.Put(context.Background(), m, "/other")
			_ = m.Compact(context.Background(), m.Revision())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem()
				mem.PageSize = 10
				fill(t, mem, 50)
				wire := storetest.NewWire(mem)
				m := newKeyMirror()
				m.page = sync.OnceFunc(func() {
					happen(wire, mem)
					_, _ = mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete("/m/000001"), store.Put("/m/new", nil)}})
				})
				stop := followKeys(t.Context(), wire, store.Prefix("/m/"), m)
				time.Sleep(time.Second)
				wire.Up()
				time.Sleep(10 * time.Second) // longer than any backoff, much shorter than a mirror's refresh
				synctest.Wait()
				items, _, _ := mem.List(t.Context(), store.Prefix("/m/"))
				if diff := m.differs(keysOf(items)); diff != "" {
					t.Errorf("mirror (-store +mirror):\n%s", diff)
				}
				if resets, _, wrong := m.counts(); m.begun < 2 || resets != 1 || wrong != nil {
					t.Errorf("begun %d times, complete %d times, %v; want more than once, and once", m.begun, resets, wrong)
				}
				if err := stop(); err != nil {
					t.Fatalf("FollowKeys: %v", err)
				}
			})
		})
	}
}

// Scan refuses as List does.
func (denied) Scan(context.Context, store.Span, store.Parts, func([]store.Item) error) (store.Revision, error) {
	return 0, errDenied
}

func TestFollowKeysReturnsARefusal(t *testing.T) {
	err := store.FollowKeys(t.Context(), denied{storetest.NewMem()}, store.Prefix("/m/"), newKeyMirror())
	if !errors.Is(err, errDenied) || !strings.Contains(err.Error(), "/m/") {
		t.Fatalf("FollowKeys: %v, want the refusal, with the span", err)
	}
}
