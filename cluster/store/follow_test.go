//go:build !race

package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/storetest"
)

// mirror is a copy of a span that Follow keeps.
type mirror struct {
	mu     sync.Mutex
	items  map[string]store.Item
	rev    store.Revision
	resets int
	wrong  error // of the first change that cannot be
	news   chan struct{}
}

func newMirror() *mirror { return &mirror{news: make(chan struct{}, 1)} }

func (m *mirror) apply(c store.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !c.Reset && m.items == nil {
		m.wrong = errors.New("the first change is no reset")
	}
	if !c.Reset && c.Revision < m.rev {
		m.wrong = fmt.Errorf("revision went from %d to %d without a reset", m.rev, c.Revision)
	}
	if c.Reset {
		m.items = map[string]store.Item{}
		m.resets++
	}
	for _, it := range c.Items {
		m.items[it.Key] = it
	}
	for _, ev := range c.Events {
		if ev.Deleted {
			delete(m.items, ev.Item.Key)
		} else {
			m.items[ev.Item.Key] = ev.Item
		}
	}
	m.rev = c.Revision
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// differs compares the mirror with what the store holds.
func (m *mirror) differs(items []store.Item) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	want := map[string]store.Item{}
	for _, it := range items {
		want[it.Key] = it
	}
	return cmp.Diff(want, m.items)
}

func (m *mirror) counts() (resets int, rev store.Revision, wrong error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resets, m.rev, m.wrong
}

// follow runs Follow until the returned function is called.
func follow(ctx context.Context, kv store.KV, span store.Span, m *mirror) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- store.Follow(ctx, kv, span, m.apply) }()
	return func() error {
		cancel()
		return <-done
	}
}

// bubble hides a test's Deadline, which rapid would ask for and a bubble
// does not have.
type bubble struct{ rapid.TB }

// Whatever happens to the store and the connection, a mirror ends up equal
// to the store.
func TestMirrorEqualsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubble{t}, func(rt *rapid.T) {
			mem := storetest.NewMem()
			wire := storetest.NewWire(mem)
			m := newMirror()
			stop := sync.OnceValue(follow(t.Context(), wire, store.Prefix("/m/"), m))
			defer stop()
			mem.PageSize = 1
			keys := newKeyMirror()
			stopKeys := sync.OnceValue(followKeys(t.Context(), wire, store.Prefix("/m/"), keys))
			defer stopKeys()
			saved := mem.Snapshot()
			settle := 10 * time.Second // longer than any backoff
			ctx := t.Context()
			key := rapid.SampledFrom([]string{"/m/a", "/m/b", "/m/c", "/m/d", "/other"})
			rt.Repeat(map[string]func(*rapid.T){
				"put": func(rt *rapid.T) {
					_ = storetest.Put(ctx, mem, key.Draw(rt, "key"))
				},
				"put two": func(*rapid.T) {
					_, _ = mem.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/m/a", nil), store.Put("/m/b", nil)}})
				},
				"delete": func(rt *rapid.T) {
					_, _ = mem.Commit(ctx, store.Txn{Then: []store.Op{store.Delete(key.Draw(rt, "key"))}})
				},
				"compact":    func(*rapid.T) { _ = mem.Compact(ctx, mem.Revision()) },
				"progress":   func(*rapid.T) { mem.Progress() },
				"disconnect": func(*rapid.T) { wire.Disconnect() },
				"down":       func(*rapid.T) { wire.Down() },
				"hang":       func(*rapid.T) { wire.Hang() },
				"up":         func(*rapid.T) { wire.Up() },
				"lose":       func(*rapid.T) { wire.LoseEvents(2); settle = 11 * time.Minute }, // found by the next listing
				"save":       func(*rapid.T) { saved = mem.Snapshot() },
				"restore":    func(*rapid.T) { mem.Restore(saved) },
				"wipe":       func(*rapid.T) { mem.Wipe() },
				"pass": func(rt *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond)
				},
				"settle": func(*rapid.T) { synctest.Wait() },
			})
			wire.Up()
			wire.LoseEvents(0)
			time.Sleep(settle)
			synctest.Wait()
			items, _, err := mem.List(ctx, store.Prefix("/m/"))
			if err != nil {
				rt.Fatal(err)
			}
			if diff := m.differs(items); diff != "" {
				rt.Fatalf("mirror (-store +mirror):\n%s", diff)
			}
			if diff := keys.differs(keysOf(items)); diff != "" {
				rt.Fatalf("mirror of keys (-store +mirror):\n%s", diff)
			}
			for _, one := range []*mirror{m, &keys.mirror} {
				if _, _, wrong := one.counts(); wrong != nil {
					rt.Fatal(wrong)
				}
			}
			if err := errors.Join(stop(), stopKeys()); err != nil {
				rt.Fatalf("Follow: %v", err)
			}
		})
	})
}

// replaced is a store that another takes the place of, at the same revision,
// just when its follower has had one of its first two answers: that the watch
// stands, or the listing.
type replaced struct {
	*storetest.Mem
	list bool // after the listing
	once sync.Once
}

func (r *replaced) replace(ctx context.Context) {
	r.once.Do(func() {
		r.Wipe()
		_ = storetest.Put(ctx, r.Mem, "/m/new")
	})
}

func (r *replaced) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	items, rev, err := r.Mem.List(ctx, span)
	if r.list {
		r.replace(ctx)
	}
	return items, rev, err
}

func (r *replaced) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		for batch, err := range r.Mem.Watch(ctx, span, after) {
			if !r.list {
				r.replace(ctx)
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// A store that is replaced between the two answers a mirror begins with must
// not be taken for the one that gave the first.
func TestMirrorOfAStoreReplacedAtTheStart(t *testing.T) {
	for _, list := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			mem := storetest.NewMem()
			if err := storetest.Put(t.Context(), mem, "/m/old"); err != nil {
				t.Fatal(err)
			}
			m := newMirror()
			stop := follow(t.Context(), &replaced{Mem: mem, list: list}, store.Prefix("/m/"), m)
			time.Sleep(10 * time.Second) // longer than any backoff, much shorter than a mirror's refresh
			synctest.Wait()
			items, _, _ := mem.List(t.Context(), store.Prefix("/m/"))
			if diff := m.differs(items); diff != "" {
				t.Errorf("replaced after the listing: %t; mirror (-store +mirror):\n%s", list, diff)
			}
			if err := stop(); err != nil {
				t.Fatalf("Follow: %v", err)
			}
		})
	}
}

// contrary is a store whose watch contradicts itself once.
type contrary struct {
	*storetest.Mem
	batch store.Batch
	once  sync.Once
}

func (c *contrary) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	lie := false
	c.once.Do(func() { lie = true })
	if !lie {
		return c.Mem.Watch(ctx, span, after)
	}
	return func(yield func(store.Batch, error) bool) {
		if yield(store.Batch{Revision: c.Revision()}, nil) && yield(c.batch, nil) {
			<-ctx.Done()
		}
	}
}

func TestContradictionsAreListedAnew(t *testing.T) {
	event := func(at store.Revision) []store.Event {
		return []store.Event{{Item: store.Item{Key: "/m/lie", Modified: at}, At: at}}
	}
	for _, c := range []struct {
		name  string
		batch store.Batch
	}{
		{"progress behind", store.Batch{Revision: 1}},
		{"event seen before", store.Batch{Revision: 4, Events: event(2)}},
		{"event beyond its batch", store.Batch{Revision: 4, Events: event(5)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem()
				for range 2 {
					if err := storetest.Put(t.Context(), mem, "/m/a"); err != nil {
						t.Fatal(err)
					}
				}
				m := newMirror()
				stop := follow(t.Context(), &contrary{Mem: mem, batch: c.batch}, store.Prefix("/m/"), m)
				time.Sleep(time.Second)
				synctest.Wait()
				items, _, _ := mem.List(t.Context(), store.Prefix("/m/"))
				if diff := m.differs(items); diff != "" {
					t.Errorf("mirror (-store +mirror):\n%s", diff)
				}
				if resets, _, _ := m.counts(); resets != 2 {
					t.Errorf("listed %d times, want 2", resets)
				}
				if err := stop(); err != nil {
					t.Fatalf("Follow: %v", err)
				}
			})
		})
	}
}

// denied is a store that refuses.
type denied struct{ *storetest.Mem }

var errDenied = errors.New("permission denied")

func (denied) List(context.Context, store.Span) ([]store.Item, store.Revision, error) {
	return nil, 0, errDenied
}

func TestFollowReturnsARefusal(t *testing.T) {
	err := store.Follow(t.Context(), denied{storetest.NewMem()}, store.Prefix("/"), func(store.Change) {})
	if !errors.Is(err, errDenied) {
		t.Fatalf("Follow: %v, want the refusal", err)
	}
}

// equal waits until the mirror equals the store, or the test's deadline.
func (m *mirror) equal(t *testing.T, kv store.KV, span store.Span) {
	t.Helper()
	guard := time.After(time.Minute)
	for {
		items, _, err := kv.List(t.Context(), span)
		diff := ""
		if err == nil {
			if diff = m.differs(items); diff == "" {
				return
			}
		}
		select {
		case <-m.news:
		case <-time.After(100 * time.Millisecond): // the store's answer may be the one that is late
		case <-guard:
			t.Fatalf("mirror (-store +mirror), %v:\n%s", err, diff)
		}
	}
}

// On a real etcd: history, compaction, a restart, and a data directory that
// was lost, all behind one address and one running mirror.
func TestMirrorOfRealEtcd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func() (stop func()) {
		_, stop = etcdtest.ServeUntil(t, embedded.Config{Dir: dir})
		return stop
	}
	stop := run()
	s := etcdtest.Open(t, etcd.Config{Endpoints: []string{etcdtest.Socket(dir)}})
	span := store.Prefix("/m/")
	m := newMirror()
	end := follow(t.Context(), s, span, m)
	defer func() {
		if err := end(); err != nil {
			t.Errorf("Follow: %v", err)
		}
	}()
	for i := range 50 {
		if err := storetest.Put(t.Context(), s, fmt.Sprintf("/m/%d", i%7)); err != nil {
			t.Fatal(err)
		}
	}
	m.equal(t, s, span)
	_, rev, _ := m.counts()
	if err := s.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	stop()
	stop = run()
	m.equal(t, s, span)
	putUntil(t, s, "/m/after-restart")
	m.equal(t, s, span)

	stop()
	if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
		t.Fatal(err)
	}
	stop = run() // another store, at a lower revision
	defer stop()
	putUntil(t, s, "/m/in-the-new-store")
	m.equal(t, s, span)
	if _, now, wrong := m.counts(); now >= rev || wrong != nil {
		t.Fatalf("mirror at revision %d after %d, %v: want a lower one, by a reset", now, rev, wrong)
	}
}

// putUntil puts a key, however long the store takes to come back.
func putUntil(t *testing.T, kv store.KV, key string) {
	t.Helper()
	for {
		err := storetest.Put(t.Context(), kv, key)
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("put %s: %v", key, err)
		}
	}
}
