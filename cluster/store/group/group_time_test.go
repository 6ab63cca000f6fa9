//go:build !race

package group_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gvlan/cluster/store"
	"gvlan/cluster/store/group"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// shut has the first commit wait until the returned function is called.
func (d *door) shut() (open func()) {
	wait := make(chan struct{})
	var passed atomic.Bool
	d.open = func(context.Context, store.Txn) error {
		if !passed.Swap(true) {
			<-wait
		}
		return nil
	}
	return func() { close(wait) }
}

type answer struct {
	res store.Result
	err error
}

// behind sends a transaction that the door holds up, then others one after the
// other, and returns the answers of the others once the door was opened.
func behind(t *testing.T, kv store.KV, open func(), txns ...store.Txn) []answer {
	t.Helper()
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := kv.Commit(t.Context(), store.Txn{}); err != nil {
			t.Errorf("the first: %v", err)
		}
	})
	synctest.Wait()
	answers := make([]answer, len(txns))
	for i, txn := range txns {
		work.Go(func() { answers[i].res, answers[i].err = kv.Commit(t.Context(), txn) })
		synctest.Wait()
	}
	open()
	work.Wait()
	return answers
}

// sizes is how many transactions each commit carried.
func sizes(txns []store.Txn) (n []int) {
	for _, txn := range txns {
		nested := 0
		for _, op := range txn.Then {
			if op.Kind == store.OpNested {
				nested++
			}
		}
		n = append(n, max(1, nested))
	}
	return n
}

func TestWhatWaitsGoesTogether(t *testing.T) {
	t.Parallel()
	wide := func(i int) store.Txn {
		var txn store.Txn
		for j := range 100 {
			txn.Then = append(txn.Then, store.Put(fmt.Sprintf("/wide/%d/%d", i, j), nil))
		}
		return txn
	}
	many := func(n int, txn func(int) store.Txn) (txns []store.Txn) {
		for i := range n {
			txns = append(txns, txn(i))
		}
		return txns
	}
	own := func(i int) store.Txn { return take(fmt.Sprintf("/k/%d", i)) }
	of := func(epoch int64, key string) store.Txn {
		return store.Txn{Epoch: epoch, Then: []store.Op{store.Put(key, nil)}}
	}
	steps := func(ops ...store.Op) store.Txn { return store.Txn{Then: ops} }
	for name, c := range map[string]struct {
		txns []store.Txn
		want []int
	}{
		"all of them":             {many(40, own), []int{1, 40}},
		"64 at most":              {many(70, own), []int{1, 64, 6}},
		"as many as etcd permits": {many(30, wide), []int{1, 24, 6}},
		"who writes what another writes": {
			[]store.Txn{take("/k"), take("/k"), take("/other")}, []int{1, 2, 1},
		},
		"who writes what another writes unseen": {
			[]store.Txn{steps(store.Put("/k", nil)), steps(store.Delete("/k"))}, []int{1, 1, 1},
		},
		"who writes what another compares": {
			[]store.Txn{
				{If: []store.Cond{store.Absent("/a")}, Then: []store.Op{store.Put("/b", nil)}},
				{If: []store.Cond{store.Absent("/b")}, Then: []store.Op{store.Put("/a", nil)}},
			}, []int{1, 1, 1},
		},
		"who writes what another reads in a branch of a branch": {
			[]store.Txn{
				take("/k"),
				steps(store.Op{Kind: store.OpNested, Nested: &store.Txn{If: []store.Cond{store.Absent("/z")}, Else: []store.Op{store.Get("/k")}}}),
			}, []int{1, 1, 1},
		},
		"who was decided in another epoch": {
			[]store.Txn{own(1), of(1, "/a"), of(2, "/b"), own(2), of(1, "/c"), of(2, "/d")}, []int{1, 4, 2},
		},
		"who reads what another reads": {[]store.Txn{steps(store.Get("/k")), steps(store.Get("/k"))}, []int{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				far := &door{KV: storetest.NewMem()}
				open := far.shut()
				for i, a := range behind(t, group.New(far), open, c.txns...) {
					if a.err != nil {
						t.Errorf("%d: %v", i, a.err)
					}
				}
				if diff := cmp.Diff(c.want, sizes(far.sent())); diff != "" {
					t.Errorf("transactions a commit (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Each sender finds what it would have found alone, whatever went with it.
func TestGroupIsAsIfSentAlone(t *testing.T) {
	t.Parallel()
	keys := []string{"/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"}
	drawKey := rapid.SampledFrom(keys)
	var drawTxn func(depth int) *rapid.Generator[store.Txn]
	drawTxn = func(depth int) *rapid.Generator[store.Txn] {
		return rapid.Custom(func(rt *rapid.T) store.Txn {
			var txn store.Txn
			if rapid.Bool().Draw(rt, "compares") {
				txn.If = append(txn.If, store.Absent(drawKey.Draw(rt, "compared")))
			}
			for _, branch := range []*[]store.Op{&txn.Then, &txn.Else} {
				written := drawKey.Draw(rt, "written")
				switch rapid.IntRange(0, 3).Draw(rt, "step") {
				case 0:
					*branch = append(*branch, store.Put(written, []byte(rapid.StringN(1, 3, 3).Draw(rt, "value"))), store.Get(written))
				case 1:
					*branch = append(*branch, store.Delete(written))
				case 2:
					*branch = append(*branch, store.Get(written))
				case 3:
					if depth > 0 {
						nested := drawTxn(depth-1).Draw(rt, "nested")
						*branch = append(*branch, store.Op{Kind: store.OpNested, Nested: &nested})
					}
				}
			}
			return txn
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		txns := rapid.SliceOfN(drawTxn(1), 2, 12).Draw(rt, "txns")
		var differs string
		synctest.Test(t, func(t *testing.T) { differs = compareAlone(t, txns) })
		if differs != "" {
			rt.Fatal(differs)
		}
	})
}

// compareAlone says how what a group does with transactions that wait differs
// from what a store does with them one after the other, in the group's order.
func compareAlone(t *testing.T, txns []store.Txn) (differs string) {
	far, plain := &door{KV: storetest.NewMem()}, storetest.NewMem()
	open := far.shut()
	answers := behind(t, group.New(far), open, txns...)
	left := map[int]bool{}
	for i := range txns {
		left[i] = true
	}
	alone := func(txn store.Txn) string {
		for i := range txns {
			if !left[i] || !cmp.Equal(txns[i], txn) {
				continue
			}
			delete(left, i)
			want, err := plain.Commit(t.Context(), txn)
			if err != nil || answers[i].err != nil {
				return fmt.Sprintf("%+v: %v alone, %v in the group", txn, err, answers[i].err)
			}
			return cmp.Diff(shape(want), shape(answers[i].res))
		}
		return fmt.Sprintf("nobody sent %+v", txn)
	}
	for i, n := range sizes(far.sent()) {
		sent := far.sent()[i]
		if i == 0 {
			continue // of behind
		}
		inside := []store.Txn{sent}
		if n > 1 {
			inside = nil
			for _, op := range sent.Then {
				inside = append(inside, *op.Nested)
			}
		}
		for _, txn := range inside {
			if differs := alone(txn); differs != "" {
				return differs
			}
		}
	}
	want, _, _ := plain.List(t.Context(), store.Prefix("/"))
	got, _, _ := far.List(t.Context(), store.Prefix("/"))
	return cmp.Diff(shape(store.Result{Items: want}), shape(store.Result{Items: got}))
}

// shape is a result without revisions, of which a group has fewer.
func shape(res store.Result) string {
	var b strings.Builder
	fmt.Fprint(&b, res.Done)
	for _, it := range res.Items {
		fmt.Fprintf(&b, " %s=%q", it.Key, it.Value)
	}
	for _, nested := range res.Nested {
		fmt.Fprintf(&b, " {%s}", shape(nested))
	}
	return b.String()
}

// A record that a group made is known by the revision it bears.
func TestResultsBearTheRevision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &door{KV: storetest.NewMem()}
		open := far.shut()
		answers := behind(t, group.New(far), open, take("/a"), take("/b"))
		for i, key := range []string{"/a", "/b"} {
			it, err := far.Get(t.Context(), key)
			if err != nil || it.Created != answers[i].res.Revision || it.Created == 0 {
				t.Errorf("%s was made at %d (%v), its sender was told %d", key, it.Created, err, answers[i].res.Revision)
			}
		}
	})
}

// What was sent happened once, and nobody was told.
func TestLostReplyIsEverybodys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		far := &door{KV: mem}
		open := far.shut()
		held := far.open
		far.open = func(ctx context.Context, txn store.Txn) error {
			err := held(ctx, txn)
			if len(txn.Then) == 2 {
				mem.DropReplies(1)
			}
			return err
		}
		for i, a := range behind(t, group.New(far), open, take("/a"), take("/b")) {
			if !errors.Is(a.err, store.ErrUnavailable) {
				t.Errorf("%d: %v, want no answer", i, a.err)
			}
		}
		for _, key := range []string{"/a", "/b"} {
			if _, err := mem.Get(t.Context(), key); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		if n := len(far.sent()); n != 2 {
			t.Errorf("%d commits, want 2", n)
		}
	})
}

func TestOneRefusalHurtsOne(t *testing.T) {
	t.Parallel()
	gone := store.Put("/hung", nil)
	gone.Lease = 4711
	for name, bad := range map[string]store.Txn{
		"a key written twice":        {Then: []store.Op{store.Put("/twice", nil), store.Put("/twice", nil)}},
		"more than etcd takes":       {Then: make([]store.Op, 200)},
		"an etcd lease that is gone": {Then: []store.Op{gone}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				far := &door{KV: storetest.NewMem()}
				open := far.shut()
				answers := behind(t, group.New(far), open, take("/a"), bad, take("/b"))
				if err := answers[1].err; err == nil || errors.Is(err, store.ErrUnavailable) {
					t.Errorf("the bad one: %v, want a refusal", err)
				}
				for _, i := range []int{0, 2} {
					if !answers[i].res.Done || answers[i].err != nil {
						t.Errorf("%d: %+v", i, answers[i])
					}
				}
			})
		})
	}
}

// While the cluster's gate is closed nothing is given, and what is given back is.
func TestClosedGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		if err := storetest.Put(t.Context(), mem, "/had"); err != nil {
			t.Fatal(err)
		}
		self := session.New(mem, session.Identity{Node: "a", Install: "one", Boot: "boot"}, &storetest.Past{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		defer work.Wait()
		defer cancel()
		work.Go(func() { _ = self.Run(ctx) })
		<-self.Opened()
		if err := session.CloseGate(t.Context(), mem, "b", "of a test"); err != nil {
			t.Fatal(err)
		}
		far := &door{KV: self}
		open := far.shut()
		answers := behind(t, group.New(far), open, take("/new"), store.Txn{Then: []store.Op{store.Delete("/had")}}, take("/newer"), store.Txn{Then: []store.Op{store.Get("/had")}})
		for _, i := range []int{0, 2} {
			if !errors.Is(answers[i].err, store.ErrSuspect) {
				t.Errorf("%d was given: %v", i, answers[i].err)
			}
		}
		if !answers[1].res.Done || answers[1].err != nil {
			t.Errorf("nothing was given back: %+v", answers[1])
		}
		if _, err := mem.Get(t.Context(), "/had"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("/had: %v", err)
		}
	})
}

func TestSenderWhoWaitsNoLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &door{KV: storetest.NewMem()}
		open := far.shut()
		g := group.New(far)
		var work sync.WaitGroup
		work.Go(func() { _, _ = g.Commit(t.Context(), take("/first")) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		work.Go(func() {
			if _, err := g.Commit(ctx, take("/queued")); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("the one that left: %v", err)
			}
		})
		work.Go(func() {
			if _, err := g.Commit(t.Context(), take("/stays")); err != nil {
				t.Errorf("the one that stayed: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		open()
		work.Wait()
		if _, err := far.Get(t.Context(), "/queued"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what nobody waited for was sent: %v", err)
		}
	})
}

// A store that is away costs nobody more than its own time.
func TestStoreThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		mem.Hang()
		g := group.New(mem)
		var work sync.WaitGroup
		for i := range 20 {
			work.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				if _, err := g.Commit(ctx, take(fmt.Sprintf("/k/%d", i))); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%d: %v", i, err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("%d waited for %s", i, took)
				}
			})
		}
		work.Wait()
	})
}

// One that is not answered holds up the others for a moment only.
func TestRoundThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &door{KV: storetest.NewMem()}
		open := far.shut()
		g := group.New(far)
		var work sync.WaitGroup
		work.Go(func() { _, _ = g.Commit(t.Context(), take("/stuck")) })
		synctest.Wait()
		began := time.Now()
		if _, err := g.Commit(t.Context(), take("/next")); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("waited for %s", took)
		}
		open()
		work.Wait()
	})
}

func TestPanicReachesWhoSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := &door{KV: storetest.NewMem()}
		wait := make(chan struct{})
		calls := 0
		far.open = func(context.Context, store.Txn) error {
			if calls++; calls == 1 {
				<-wait
			}
			if calls <= 2 {
				panic("of a test")
			}
			return nil
		}
		g := group.New(far)
		var work sync.WaitGroup
		for i := range 3 {
			work.Go(func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%d: no panic", i)
					}
				}()
				_, _ = g.Commit(t.Context(), take(fmt.Sprintf("/k/%d", i)))
			})
			synctest.Wait()
		}
		close(wait)
		work.Wait()
		if _, err := g.Commit(t.Context(), take("/after")); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
