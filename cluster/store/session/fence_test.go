//go:build !race

package session_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// evict takes node a's epoch away, as another node does.
func evict(t *testing.T, kv store.KV) {
	t.Helper()
	it, err := kv.Get(t.Context(), store.EpochKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := store.Decode[store.Epoch](it)
	if err != nil {
		t.Fatal(err)
	}
	epoch.Epoch++
	epoch.Evicted = true
	res, err := kv.Commit(t.Context(), store.Txn{
		If:   []store.Cond{store.Unchanged(it.Key, it.Modified)},
		Then: []store.Op{store.Put(it.Key, store.Encode(epoch))},
	})
	if err != nil || !res.Done {
		t.Fatalf("evict: %+v, %v", res, err)
	}
}

func TestEvictedNodeIsFencedAndLearnsOfItOnReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		a := start(t, mem, "one", p)
		evict(t, mem)
		synctest.Wait()
		if !a.ended() || !errors.Is(a.err, store.ErrFenced) || !errors.Is(a.err, store.ErrEvicted) {
			t.Fatalf("Run: %v, want ErrEvicted, which is an ErrFenced", a.err)
		}
		if err := a.Trusted(); !errors.Is(err, store.ErrFenced) {
			t.Fatalf("Trusted: %v, want ErrFenced", err)
		}
		back := start(t, mem, "one", p)
		if !back.WasEvicted() || back.Epoch() != 3 || back.Trusted() != nil {
			t.Fatalf("evicted %v, epoch %d, trusted %v; want true, 3, nil", back.WasEvicted(), back.Epoch(), back.Trusted())
		}
		back.kill() // before it has taken its addresses again
		back = start(t, mem, "one", p)
		if !back.WasEvicted() {
			t.Fatal("an eviction is forgotten that nothing was done about")
		}
		if p.Returned = back.Returned(); back.WasEvicted() {
			t.Fatal("what was done about an eviction is not known")
		}
		back.leave()
		if again := start(t, mem, "one", p); again.WasEvicted() {
			t.Fatal("an eviction is reported twice")
		}
	})
}

// Any number of writes in flight while the epoch is taken: those before it
// land, none after it does.
func TestWritesInFlightAreFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		old := start(t, mem, "one", p)
		old.wire.Slow(time.Second) // a request is on its way for a second
		var flights sync.WaitGroup
		errs := make([]error, 10)
		for i := range errs {
			flights.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				errs[i] = storetest.Put(t.Context(), old, "/k/"+string(rune('a'+i)))
			})
		}
		time.Sleep(1450 * time.Millisecond) // the first five have arrived
		next := start(t, mem, "one", p)
		flights.Wait()
		for i, err := range errs {
			if i < 5 && err != nil {
				t.Errorf("write %d, before the takeover: %v", i, err)
			}
			if i >= 5 && !errors.Is(err, store.ErrFenced) {
				t.Errorf("write %d, after the takeover: %v, want ErrFenced", i, err)
			}
		}
		items, _, err := mem.List(t.Context(), store.Prefix("/k/"))
		if err != nil || len(items) != 5 {
			t.Fatalf("%d writes landed (%v), want 5", len(items), err)
		}
		if err := next.Trusted(); err != nil {
			t.Fatal(err)
		}
	})
}

// A failed condition of the caller's own must not look like a fence, and the
// caller must not see what the fence reads.
func TestCommitPassesElseThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := start(t, mem, "one", &storetest.Past{})
		if err := storetest.Put(t.Context(), a, "/k"); err != nil {
			t.Fatal(err)
		}
		res, err := a.Commit(t.Context(), store.Txn{
			If:   []store.Cond{store.Absent("/k")},
			Then: []store.Op{store.Put("/k", nil)},
			Else: []store.Op{store.Get("/k"), store.Get(store.EpochKey("a"))},
		})
		if err != nil || res.Done {
			t.Fatalf("Commit: %+v, %v", res, err)
		}
		if len(res.Items) != 2 || res.Items[0].Key != "/k" || res.Items[1].Key != store.EpochKey("a") {
			t.Fatalf("items %+v, want /k and the epoch", res.Items)
		}
	})
}

// What a transaction writes where its conditions do not hold is fenced like the
// rest of it.
func TestBothBranchesAreFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		old := start(t, mem, "one", &storetest.Past{})
		if err := storetest.Put(t.Context(), old, "/k"); err != nil {
			t.Fatal(err)
		}
		either := store.Txn{
			If:   []store.Cond{store.Absent("/k")},
			Then: []store.Op{store.Put("/k", nil)},
			Else: []store.Op{store.Get("/k"), store.Put("/other", []byte("1"))},
		}
		res, err := old.Commit(t.Context(), either)
		if _, found := res.Item("/k"); err != nil || res.Done || !found || res.Revision == 0 {
			t.Fatalf("Commit: %+v, %v; want the other branch, with /k and a revision", res, err)
		}
		before, err := mem.Get(t.Context(), "/other")
		if err != nil {
			t.Fatal(err)
		}
		old.wire.Slow(time.Second)
		var flight sync.WaitGroup
		flight.Go(func() {
			if _, err := old.Commit(t.Context(), either); !errors.Is(err, store.ErrFenced) {
				t.Errorf("Commit of an agent that was replaced meanwhile: %v, want ErrFenced", err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		start(t, mem, "one", &storetest.Past{})
		flight.Wait()
		if after, err := mem.Get(t.Context(), "/other"); err != nil || after.Modified != before.Modified {
			t.Errorf("it wrote where its conditions did not hold: %+v, %v", after, err)
		}
	})
}

// What was decided in one epoch does not happen in the next one, which the same
// session may have opened meanwhile: its records name the one they are of.
func TestWhatAnEarlierEpochDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := start(t, mem, "one", &storetest.Past{})
		nested := func(key string, epoch int64) store.Txn {
			return store.Txn{Then: []store.Op{{Kind: store.OpNested, Nested: &store.Txn{Epoch: epoch, Then: []store.Op{store.Put(key, nil)}}}}}
		}
		earlier := a.Epoch()
		if _, err := a.Commit(t.Context(), nested("/first", earlier)); err != nil {
			t.Fatal(err)
		}
		mem.Wipe()
		for a.Epoch() == earlier { // what the session writes itself tells it
			time.Sleep(time.Second)
		}
		for key, epoch := range map[string]int64{"/again": a.Epoch(), "/any": 0} {
			if _, err := a.Commit(t.Context(), nested(key, epoch)); err != nil {
				t.Errorf("Commit of a transaction of epoch %d: %v", epoch, err)
			}
		}
		if _, err := a.Commit(t.Context(), nested("/late", earlier)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Commit of what epoch %d decided: %v, want ErrUnavailable in epoch %d", earlier, err, a.Epoch())
		}
		if it, err := mem.Get(t.Context(), "/late"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("it happened: %+v, %v", it, err)
		}
	})
}

// A commit whose reply is lost is unknown; the same transaction again tells.
func TestLostReplyIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := start(t, mem, "one", &storetest.Past{})
		txn := store.Txn{
			If:   []store.Cond{store.Absent("/k")},
			Then: []store.Op{store.Put("/k", []byte("nonce"))},
			Else: []store.Op{store.Get("/k")},
		}
		a.wire.DropReplies(1)
		if _, err := a.Commit(t.Context(), txn); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Commit: %v, want ErrUnavailable", err)
		}
		res, err := a.Commit(t.Context(), txn)
		if err != nil || res.Done || len(res.Items) != 1 || string(res.Items[0].Value) != "nonce" {
			t.Fatalf("the same again: %+v, %v; want the nonce", res, err)
		}
	})
}

// The reply to the opening transaction is lost: the session opens with the
// next one, under the next epoch.
func TestOpenSurvivesALostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		first := start(t, mem, "one", &storetest.Past{})
		first.kill()
		mem.Advance(time.Minute)
		mem.DropReplies(2) // of the read and of the taking
		a := start(t, mem, "one", &storetest.Past{})
		<-a.Opened()
		if err := storetest.Put(t.Context(), a, "/k"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLiveComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := start(t, mem, "one", &storetest.Past{})
		epoch := a.Epoch()
		a.wire.Down()
		mem.Advance(20 * time.Second)
		if _, ok := live(t, mem); ok {
			t.Fatal("live outlasted its lease")
		}
		a.wire.Up()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, ok := live(t, mem); !ok {
			t.Fatal("live did not come back")
		}
		if a.Epoch() != epoch || a.Trusted() != nil {
			t.Fatalf("losing live changed the epoch (%d) or the trust (%v)", a.Epoch(), a.Trusted())
		}
	})
}
