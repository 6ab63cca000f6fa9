//go:build !race

package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// gives runs a transaction that gives something.
func gives(t *testing.T, kv store.KV, key string) error {
	t.Helper()
	_, err := kv.Commit(t.Context(), store.Txn{Gives: true, Then: []store.Op{store.Put(key, []byte("x"))}})
	return err
}

// node runs a session of a node of any name.
func node(t *testing.T, far store.Backend, name string, p *storetest.Past) *agent {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	wire := storetest.NewWire(far)
	a := &agent{
		Session: session.New(wire, session.Identity{Node: name, Install: "install-" + name, Boot: "boot"}, p, discard),
		wire:    wire, stop: stop, done: make(chan struct{}),
	}
	go func() {
		defer close(a.done)
		a.err = a.Run(ctx)
	}()
	t.Cleanup(a.leave)
	synctest.Wait()
	return a
}

// later lets everything happen that happens by itself.
func later() {
	time.Sleep(30 * time.Second)
	synctest.Wait()
}

// TestALostWriteIsNoticed: an older copy takes the store's place, at a lower
// revision or beyond every one that was seen, and others write to it until no
// revision tells.
func TestALostWriteIsNoticed(t *testing.T) {
	restores := map[string]func(*storetest.Mem, storetest.Snapshot){"plain": (*storetest.Mem).Restore, "bumped": (*storetest.Mem).RestoreBumped}
	for how, restore := range restores {
		for _, noticed := range []string{"by its next write", "by an idle node", "at its next start", "after an outage"} {
			t.Run(how+"/"+noticed, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mem, p := storetest.NewMem(), &storetest.Past{}
					a := node(t, mem, "a", p)
					early := mem.Snapshot()
					if err := storetest.Put(t.Context(), a, "/k"); err != nil {
						t.Fatal(err)
					}
					switch noticed {
					case "at its next start":
						a.leave()
					case "after an outage":
						a.wire.Down()
					}
					restore(mem, early)
					for range 20 { // beyond what a node saw that only knows its own writes
						if err := storetest.Put(t.Context(), mem, "/others"); err != nil {
							t.Fatal(err)
						}
					}
					switch noticed {
					case "by its next write":
						if err := storetest.Put(t.Context(), a, "/address"); !errors.Is(err, store.ErrSuspect) {
							t.Fatalf("Commit: %v, want ErrSuspect", err)
						}
						if _, err := mem.Get(t.Context(), "/address"); !errors.Is(err, store.ErrNotFound) {
							t.Fatalf("it was written: %v", err)
						}
					case "at its next start":
						a = node(t, mem, "a", p)
					case "after an outage":
						a.wire.Up()
					}
					later()
					suspects(t, a, "is gone")
				})
			})
		}
	}
}

// TestAnothersRevisionsAreOfThePast: what this node heard by its watches counts,
// though it wrote nothing itself after the copy was made, and who did is of a
// gvlan that does not put LastKey.
func TestAnothersRevisionsAreOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := node(t, mem, "a", &storetest.Past{})
		ctx, cancel := context.WithCancel(t.Context())
		followed := make(chan error, 1)
		go func() {
			followed <- store.Follow(ctx, a, store.Prefix("/leases/"), func(store.Change) {})
		}()
		synctest.Wait()
		early := mem.Snapshot()
		for range 10 {
			if err := storetest.Put(t.Context(), mem, "/leases/x"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		mem.Restore(early)
		later()
		suspects(t, a, "is below")
		cancel()
		if err := <-followed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestTheGate: one node finds the loss; nobody gives anything until it is
// opened, once, for all.
func TestTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, pa, pc := storetest.NewMem(), &storetest.Past{}, &storetest.Past{}
		b, c := node(t, mem, "b", &storetest.Past{}), node(t, mem, "c", pc)
		early := mem.Snapshot()
		a := node(t, mem, "a", pa)
		if err := storetest.Put(t.Context(), a, "/k"); err != nil {
			t.Fatal(err)
		}
		if err := storetest.Put(t.Context(), c, "/k"); err != nil {
			t.Fatal(err)
		}
		c.leave()
		mem.RestoreBumped(early)
		later()
		for name, one := range map[string]*agent{"a": a, "b": b} {
			if err := one.Trusted(); !errors.Is(err, store.ErrSuspect) {
				t.Errorf("node %s: %v, want ErrSuspect", name, err)
			}
			if err := gives(t, one, "/address-1"); !errors.Is(err, store.ErrSuspect) || !strings.Contains(err.Error(), "node ") {
				t.Errorf("node %s gives: %v, want ErrSuspect and who found what", name, err)
			}
			if err := storetest.Put(t.Context(), one, "/asserted-"+name); err != nil {
				t.Errorf("node %s cannot write what it holds: %v", name, err)
			}
			if one.Round() == "" || one.Round() != b.Round() {
				t.Errorf("node %s knows round %q, b knows %q", name, one.Round(), b.Round())
			}
			if err := one.Reasserted(t.Context(), one.Round()); err != nil {
				t.Errorf("node %s: %v", name, err)
			}
		}
		if a.Recovered() {
			t.Error("recovered, and the gate is closed")
		}
		if err := b.OpenGate(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !a.Recovered() {
			t.Fatal("the gate is open, and a does not know")
		}
		if err := a.Accept(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.Recovered() { // it missed c's write
			if err := b.Accept(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for name, one := range map[string]*agent{"a": a, "b": b} {
			if err := one.Trusted(); err != nil {
				t.Errorf("node %s: %v", name, err)
			}
			if err := gives(t, one, "/address-2"); err != nil {
				t.Errorf("node %s: %v", name, err)
			}
			if !one.Cautious() {
				t.Errorf("node %s is not cautious", name)
			}
		}
		// c missed it all: what it lost is known to be lost.
		c = node(t, mem, "c", pc)
		suspects(t, c, "is gone")
		if !c.Recovered() || b.Trusted() != nil {
			t.Errorf("c is recovered: %v; b: %v", c.Recovered(), b.Trusted())
		}
		if err := c.Accept(t.Context()); err != nil || c.Trusted() != nil {
			t.Errorf("c accepts: %v, %v", err, c.Trusted())
		}
		mem.Advance(11 * time.Minute)
		synctest.Wait()
		if a.Cautious() {
			t.Error("cautious for ever")
		}
		// The same copy once more is another loss.
		if err := storetest.Put(t.Context(), a, "/k"); err != nil {
			t.Fatal(err)
		}
		mem.RestoreBumped(early)
		later()
		if err := gives(t, b, "/address-3"); !errors.Is(err, store.ErrSuspect) {
			t.Errorf("after the second loss b gives: %v", err)
		}
	})
}

// TestAStoreMadeAnewByANewNode: the node that makes the store anew knew no
// cluster, so nothing says which one it comes after.
func TestAStoreMadeAnewByANewNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		a := node(t, mem, "a", &storetest.Past{})
		a.wire.Down()
		mem.Wipe()
		fresh := node(t, mem, "fresh", &storetest.Past{})
		a.wire.Up()
		later()
		suspects(t, a, "is")
		if err := gives(t, fresh, "/address"); !errors.Is(err, store.ErrSuspect) {
			t.Fatalf("the new node gives: %v", err)
		}
		if err := a.Reasserted(t.Context(), a.Round()); err != nil {
			t.Fatal(err)
		}
		if err := fresh.OpenGate(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !a.Recovered() {
			t.Fatal("a took part in the recovery and does not know")
		}
		if err := a.Accept(t.Context()); err != nil || a.Trusted() != nil {
			t.Fatalf("Accept: %v, then Trusted: %v", err, a.Trusted())
		}
	})
}

// TestAnOldWatchIsNoWitness: what a watch of the store that was replaced brings
// late says nothing of the new one.
func TestAnOldWatchIsNoWitness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		early := mem.Snapshot()
		a := node(t, mem, "a", &storetest.Past{})
		followed := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			followed <- store.Follow(ctx, a, store.Prefix("/others"), func(store.Change) {})
		}()
		for range 100 {
			if err := storetest.Put(t.Context(), mem, "/others"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		mem.Restore(early)
		later()
		if err := a.OpenGate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.Accept(t.Context()); err != nil {
			t.Fatal(err)
		}
		later()
		if err := a.Trusted(); err != nil {
			t.Fatalf("Trusted: %v", err)
		}
		cancel()
		if err := <-followed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestTheFirstToComeBackGivesNothing: its own writes are all in the copy, and
// the node whose write is not there has not come back to the store yet.
func TestTheFirstToComeBackGivesNothing(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			mem, pa, pb := storetest.NewMem(), &storetest.Past{}, &storetest.Past{}
			a, b := node(t, mem, "a", pa), node(t, mem, "b", pb)
			early := mem.Snapshot()
			if err := gives(t, a, "/address"); err != nil {
				t.Fatal(err)
			}
			later()
			a.wire.Down()
			b.wire.Down()
			if restarted {
				b.leave()
			}
			mem.RestoreBumped(early)
			if restarted {
				b = node(t, mem, "b", pb)
			}
			b.wire.Up()
			for err := gives(t, b, "/address"); !errors.Is(err, store.ErrSuspect); err = gives(t, b, "/address") {
				if !errors.Is(err, store.ErrUnavailable) {
					t.Fatalf("b gives: %v, want ErrSuspect", err)
				}
				time.Sleep(time.Second)
			}
			if _, err := mem.Get(t.Context(), "/address"); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("the address of a was given: %v", err)
			}
			later()
			suspects(t, b, "node a's last write")
			a.wire.Up()
			later()
			for _, one := range []*agent{a, b} {
				if err := one.Reasserted(t.Context(), one.Round()); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.OpenGate(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, one := range []*agent{a, b} {
				if one.Recovered() {
					if err := one.Accept(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				later()
				if err := gives(t, one, "/address-of-"+one.Node()); err != nil || one.Trusted() != nil {
					t.Errorf("after the recovery %s gives: %v, %v", one.Node(), err, one.Trusted())
				}
			}
		})
	}
}

// reconnecting is a store that tells when its connection was made anew, and
// whose renewals tell nothing.
type reconnecting struct {
	store.Backend
	made chan struct{}
}

func (r reconnecting) Reconnected() <-chan struct{} { return r.made }

func (r reconnecting) KeepAlive(ctx context.Context, _ store.LeaseID, _ func(store.Revision)) error {
	<-ctx.Done()
	return nil
}

// TestEachReconnectReadsTheLastWriteBack: nothing else would tell an idle node.
func TestEachReconnectReadsTheLastWriteBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		backend := reconnecting{mem, make(chan struct{})}
		s := session.New(backend, session.Identity{Node: "a", Install: "one", Boot: "boot"}, &storetest.Past{}, discard)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		<-s.Opened()
		early := mem.Snapshot()
		if err := storetest.Put(t.Context(), s, "/k"); err != nil {
			t.Fatal(err)
		}
		mem.RestoreBumped(early)
		later()
		if err := s.Trusted(); err != nil {
			t.Fatalf("found otherwise: %v", err)
		}
		backend.made <- struct{}{}
		synctest.Wait()
		if err := s.Trusted(); !errors.Is(err, store.ErrSuspect) {
			t.Fatalf("Trusted: %v, want ErrSuspect", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// late is a store whose answer to one transaction comes after the gate was
// opened and that was told.
type late struct {
	store.Backend
	hold chan struct{} // nil: nothing is held; else the next answer waits for it
}

func (l *late) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	res, err := l.Backend.Commit(ctx, txn)
	if hold := l.hold; hold != nil && !res.Done {
		l.hold = nil
		<-hold
	}
	return res, err
}

// TestALateAnswerDoesNotCloseTheGate: it would stay closed until the next list.
func TestALateAnswerDoesNotCloseTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		backend := &late{Backend: mem}
		s := session.New(backend, session.Identity{Node: "a", Install: "one", Boot: "boot"}, &storetest.Past{}, discard)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		<-s.Opened()
		synctest.Wait()
		gate := store.Encode(store.Gate{Round: "r", Node: "h9", Why: "it is empty"})
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.GateKey(), gate)}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		hold := make(chan struct{})
		backend.hold = hold
		refused := make(chan error, 1)
		go func() { refused <- gives(t, s, "/address") }()
		synctest.Wait()
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.GateKey())}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		close(hold)
		if err := <-refused; !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("gives: %v, want ErrUnavailable, to be asked again", err)
		}
		if err := s.Trusted(); err != nil {
			t.Errorf("the gate is open: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

// A gate that was closed in a copy before anybody used it holds for nodes that miss
// nothing, and one that misses something closes it anew: its own round is the one it
// knows at once.
func TestACopyBeginsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, p := storetest.NewMem(), &storetest.Past{}
		a := node(t, mem, "a", p)
		copied := mem.Snapshot()
		if err := gives(t, a, "/given"); err != nil {
			t.Fatal(err)
		}
		later()
		a.leave()
		mem.RestoreBumped(copied)
		if err := session.CloseGate(t.Context(), mem, "z", "it was restored"); err != nil {
			t.Fatal(err)
		}
		b := node(t, mem, "b", &storetest.Past{})
		later()
		if err := gives(t, b, "/given"); !errors.Is(err, store.ErrSuspect) || !strings.Contains(err.Error(), "it was restored") {
			t.Errorf("who misses nothing gives: %v, want ErrSuspect and why", err)
		}
		first := b.Round()
		wire := storetest.NewWire(mem)
		again := session.New(wire, session.Identity{Node: "a", Install: "install-a", Boot: "boot"}, p, discard)
		ctx, stop := context.WithCancel(t.Context())
		at, ended := make(chan string, 1), make(chan error, 1)
		go func() {
			<-again.Opened()
			at <- again.Round()
		}()
		go func() { ended <- again.Run(ctx) }()
		if round := <-at; round == first || round == "" {
			t.Errorf("who misses a write is in round %q, and that of before was %q", round, first)
		}
		later()
		if b.Round() != again.Round() {
			t.Error("they are in two rounds")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
