//go:build !race

package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// interrupted is a store where something happens just before a transaction
// or a grant.
type interrupted struct {
	store.Backend
	before func(txn store.Txn)
	grant  func()
}

func (i *interrupted) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	if i.grant != nil {
		i.grant()
	}
	return i.Backend.Grant(ctx, ttl)
}

func (i *interrupted) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	if i.before != nil {
		i.before(txn)
	}
	return i.Backend.Commit(ctx, txn)
}

// takes reports whether a transaction takes node a's epoch.
func takes(txn store.Txn) bool {
	for _, op := range txn.Then {
		if op.Kind == store.OpPut && op.Key == store.EpochKey("a") {
			return true
		}
	}
	return false
}

// Two installs read an empty store at the same moment: one opens, the other
// is told who did.
func TestOpeningRaceHasOneWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		var winner *agent
		far := &interrupted{Backend: mem}
		far.before = func(txn store.Txn) {
			if takes(txn) && winner == nil {
				winner = begin(t, mem, "one", &storetest.Past{})
				<-winner.Opened()
			}
		}
		loser := start(t, far, "two", &storetest.Past{})
		if err := loser.Trusted(); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Trusted of the loser: %v, want ErrUnavailable", err)
		}
		<-loser.done
		var held *store.HeldError
		if !errors.As(loser.err, &held) || held.Install != "one" {
			t.Fatalf("Run of the loser: %v, want HeldError by one", loser.err)
		}
		if err := storetest.Put(t.Context(), winner, "/k"); err != nil {
			t.Fatalf("the winner was disturbed: %v", err)
		}
	})
}

// An eviction between reading and taking is neither overwritten nor missed.
func TestOpeningSeesAnEvictionOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		first := start(t, mem, "one", p)
		first.leave()
		evicted := false
		far := &interrupted{Backend: mem}
		far.before = func(txn store.Txn) {
			if takes(txn) && !evicted {
				evicted = true
				evict(t, mem)
			}
		}
		if a := start(t, far, "one", p); !a.WasEvicted() || a.Epoch() != 3 {
			t.Fatalf("evicted %v, epoch %d; want true, 3", a.WasEvicted(), a.Epoch())
		}
	})
}

// The holder's /live had expired and comes back between reading and taking:
// it holds on.
func TestOpeningSeesLiveComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		holder := start(t, mem, "one", &storetest.Past{})
		holder.wire.Down()
		mem.Advance(20 * time.Second)
		far := &interrupted{Backend: mem}
		far.before = func(txn store.Txn) {
			if takes(txn) {
				holder.wire.Up()
				time.Sleep(10 * time.Second)
			}
		}
		other := start(t, far, "two", &storetest.Past{})
		<-other.done
		var held *store.HeldError
		if !errors.As(other.err, &held) {
			t.Fatalf("Run: %v, want HeldError", other.err)
		}
		if err := storetest.Put(t.Context(), holder, "/k"); err != nil {
			t.Fatalf("the holder was disturbed: %v", err)
		}
	})
}

// The store is wiped between reading and taking: the epoch does not land in
// a cluster other than the one that was judged.
func TestOpeningSeesAWipeOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		far := &interrupted{Backend: mem, grant: sync.OnceFunc(mem.Wipe)}
		a := start(t, far, "one", &storetest.Past{})
		<-a.Opened()
		it, err := mem.Get(t.Context(), store.MetaKey())
		if err != nil {
			t.Fatal(err)
		}
		if meta, err := store.Decode[store.Meta](it); err != nil || meta.UUID != a.Cluster() {
			t.Fatalf("opened cluster %s, the store says %s (%v)", a.Cluster(), meta.UUID, err)
		}
	})
}

// A past that cannot be read is no past: nothing is opened.
func TestUnreadablePast(t *testing.T) {
	s := session.New(storetest.NewMem(), session.Identity{Node: "a"}, broken{}, discard)
	if err := s.Run(t.Context()); !errors.Is(err, errBroken) {
		t.Fatalf("Run: %v, want the journal's error", err)
	}
}

var errBroken = errors.New("the journal is broken")

type broken struct{}

func (broken) LoadPast() (session.Memory, error) { return session.Memory{}, errBroken }

func (broken) SavePast(session.Memory) error { return nil }

// deaf loses the answer to the first taking of the epoch.
type deaf struct {
	store.Backend
	heard bool
}

func (d *deaf) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	res, err := d.Backend.Commit(ctx, txn)
	if err == nil && res.Done && takes(txn) && !d.heard {
		d.heard = true
		return store.Result{}, store.ErrUnavailable
	}
	return res, err
}

// What the store held when the epoch was taken counts, although the answer was
// lost and the next try finds the first one's own epoch.
func TestOpeningWhoseAnswerIsLost(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *storetest.Mem){
		"evicted": func(t *testing.T, mem *storetest.Mem) { evict(t, mem) },
		"epoch missing": func(t *testing.T, mem *storetest.Mem) {
			if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.EpochKey("a"))}}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := storetest.NewMem()
				p := &storetest.Past{}
				first := start(t, mem, "one", p)
				first.leave()
				spoil(t, mem)
				far := &deaf{Backend: mem}
				back := start(t, far, "one", p)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if !far.heard || back.Epoch() == 0 {
					t.Fatalf("the answer was lost: %v, epoch %d; want true, opened", far.heard, back.Epoch())
				}
				if suspect := errors.Is(back.Trusted(), store.ErrSuspect); back.WasEvicted() != (name == "evicted") || suspect != (name == "epoch missing") {
					t.Errorf("evicted %v, trusted %v", back.WasEvicted(), back.Trusted())
				}
			})
		})
	}
}
