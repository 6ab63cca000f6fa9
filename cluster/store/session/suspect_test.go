//go:build !race

package session_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// suspects checks that a session distrusts its store for a reason, and
// writes to it all the same.
func suspects(t *testing.T, a *agent, why string) {
	t.Helper()
	err := a.Trusted()
	if !errors.Is(err, store.ErrSuspect) || !strings.Contains(err.Error(), why) {
		t.Fatalf("Trusted: %v, want ErrSuspect because %q", err, why)
	}
	if err := storetest.Put(t.Context(), a, "/asserted"); err != nil {
		t.Fatalf("Commit while suspect: %v", err)
	}
}

// accepted checks that a suspicion ends with Accept, also for the next run.
func accepted(t *testing.T, a *agent, mem *storetest.Mem, p *storetest.Past) {
	t.Helper()
	if err := a.OpenGate(t.Context()); err != nil {
		t.Fatalf("OpenGate: %v", err)
	}
	if err := a.Accept(t.Context()); err != nil {
		t.Fatalf("Accept: %v", err)
	}
	if err := a.Trusted(); err != nil {
		t.Fatalf("Trusted after Accept: %v", err)
	}
	a.leave()
	if next := start(t, mem, "one", p); next.Trusted() != nil {
		t.Fatalf("next run: %v", next.Trusted())
	}
}

func TestStoreFoundSuspectAtOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, mem *storetest.Mem, early storetest.Snapshot)
		why  string
	}{
		{"another cluster", func(t *testing.T, mem *storetest.Mem, _ storetest.Snapshot) {
			mem.Wipe()
		}, "it is cluster "},
		{"restored from an earlier copy", func(t *testing.T, mem *storetest.Mem, early storetest.Snapshot) {
			mem.Restore(early)
		}, "is below"},
		{"without the epoch", func(t *testing.T, mem *storetest.Mem, _ storetest.Snapshot) {
			if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.EpochKey("a"))}}); err != nil {
				t.Fatal(err)
			}
		}, "epoch is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem()
				p := &storetest.Past{}
				first := start(t, mem, "one", p)
				early := mem.Snapshot()
				for range 10 {
					if err := storetest.Put(t.Context(), first, "/k"); err != nil {
						t.Fatal(err)
					}
				}
				first.leave()
				c.harm(t, mem, early)
				a := start(t, mem, "one", p)
				suspects(t, a, c.why)
				a.leave()
				for range 100 { // beyond the revision it fell from
					if err := storetest.Put(t.Context(), mem, "/others"); err != nil {
						t.Fatal(err)
					}
				}
				again := start(t, mem, "one", p)
				if err := again.Trusted(); !errors.Is(err, store.ErrSuspect) {
					t.Fatalf("a restart forgot the suspicion: %v", err)
				}
				accepted(t, again, mem, p)
			})
		})
	}
}

// A node that knows nothing trusts what it finds.
func TestFirstRunTrusts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		meta := store.Put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: "c"}))
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{meta, store.Put(store.EpochKey("b"), store.Encode(store.Epoch{Epoch: 7, Install: "one"}))}}); err != nil {
			t.Fatal(err)
		}
		if a := start(t, mem, "two", &storetest.Past{}); a.Trusted() != nil {
			t.Fatalf("Trusted: %v", a.Trusted())
		}
	})
}

func TestStoreReplacedWhileRunning(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(mem *storetest.Mem, empty, older storetest.Snapshot)
		why  string
	}{
		{"wiped", func(mem *storetest.Mem, _, _ storetest.Snapshot) { mem.Wipe() }, "epoch is missing"},
		{"restored from before the cluster", func(mem *storetest.Mem, empty, _ storetest.Snapshot) { mem.Restore(empty) }, "epoch is missing"},
		{"restored from the agent's last run", func(mem *storetest.Mem, _, older storetest.Snapshot) { mem.Restore(older) }, "from 2 back to 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem()
				empty := mem.Snapshot()
				p := &storetest.Past{}
				last := start(t, mem, "one", p)
				last.leave()
				older := mem.Snapshot()
				a := start(t, mem, "one", p)
				epoch := a.Epoch()
				c.harm(mem, empty, older)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				suspects(t, a, c.why)
				if a.Epoch() <= epoch {
					t.Fatalf("epoch %d, want a later one than %d", a.Epoch(), epoch)
				}
				meta, err := mem.Get(t.Context(), store.MetaKey())
				if err != nil {
					t.Fatal(err)
				}
				if rec, err := store.Decode[store.Meta](meta); err != nil || rec.UUID != a.Cluster() {
					t.Fatalf("cluster %s, the store says %s (%v)", a.Cluster(), rec.UUID, err)
				}
				if _, ok := live(t, mem); !ok {
					t.Fatal("no live in the new store")
				}
				accepted(t, a, mem, p)
			})
		})
	}
}

// The epoch survived in the copy that was restored: only the revision tells.
func TestRolledBackReplyIsNotRelied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		a := start(t, mem, "one", p)
		early := mem.Snapshot() // holds the epoch
		for range 10 {
			if err := storetest.Put(t.Context(), a, "/k"); err != nil {
				t.Fatal(err)
			}
		}
		mem.Restore(early)
		// Before any watch had a chance to tell.
		if err := storetest.Put(t.Context(), a, "/address"); !errors.Is(err, store.ErrSuspect) {
			t.Fatalf("Commit: %v, want ErrSuspect", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		suspects(t, a, "this node's last write, of revision 13, is gone")
		a.leave()
		again := start(t, mem, "one", p)
		suspects(t, again, "no recovery has ended")
		accepted(t, again, mem, p)
	})
}

// The same, on a node that writes nothing: its watch tells.
func TestRollBackIsNoticedByAnIdleNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := start(t, mem, "one", &storetest.Past{})
		early := mem.Snapshot() // holds the epoch
		for range 10 {
			if err := storetest.Put(t.Context(), mem, "/others"); err != nil {
				t.Fatal(err)
			}
		}
		mem.Progress()
		synctest.Wait()
		mem.Restore(early)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		suspects(t, a, "is below")
	})
}

// A mistake in the settings that is corrected leaves no trace.
func TestVisitToAnotherClusterIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, away := storetest.NewMem(), storetest.NewMem()
		p := &storetest.Past{}
		a := start(t, home, "one", p)
		a.leave()
		b := start(t, away, "one", p)
		suspects(t, b, "it is cluster ")
		b.leave()
		if back := start(t, home, "one", p); back.Trusted() != nil {
			t.Fatalf("back home: %v", back.Trusted())
		}
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		meta := store.Encode(store.Meta{Schema: store.Schema + 1, UUID: "u"})
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.MetaKey(), meta)}}); err != nil {
			t.Fatal(err)
		}
		a := start(t, mem, "one", &storetest.Past{})
		if !a.ended() || a.err == nil {
			t.Fatalf("Run: %v, want a refusal", a.err)
		}
	})
}

func TestPastIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		a := start(t, mem, "one", p)
		for range 10 {
			if err := storetest.Put(t.Context(), a, "/k"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if known, _ := p.LoadPast(); known.Revision != mem.Revision() || known.Last != mem.Revision() {
			t.Fatalf("saved %+v, want revision %d in both", known, mem.Revision())
		}
	})
}
