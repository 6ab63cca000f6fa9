//go:build !race

package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// agent is one running session.
type agent struct {
	*session.Session
	wire *storetest.Wire
	stop context.CancelFunc
	done chan struct{}
	err  error // of Run; valid after done
}

// start runs a session of node "a" and waits, in the test's bubble, until
// nothing more happens by itself.
func start(t *testing.T, far store.Backend, install string, p *storetest.Past) *agent {
	t.Helper()
	a := begin(t, far, install, p)
	synctest.Wait()
	return a
}

// begin runs a session of node "a".
func begin(t *testing.T, far store.Backend, install string, p *storetest.Past) *agent {
	t.Helper()
	return beginOn(t, far, install, "boot", p)
}

// beginOn runs a session of node "a" on that boot of its host.
func beginOn(t *testing.T, far store.Backend, install, boot string, p *storetest.Past) *agent {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	wire := storetest.NewWire(far)
	id := session.Identity{Node: "a", Install: install, Boot: boot, Host: "host-" + install, Address: "192.0.2.1", Returned: p.Returned}
	a := &agent{
		Session: session.New(wire, id, p, discard),
		wire:    wire, stop: stop, done: make(chan struct{}),
	}
	go func() {
		defer close(a.done)
		a.err = a.Run(ctx)
	}()
	t.Cleanup(a.leave)
	return a
}

// leave ends a session in order.
func (a *agent) leave() {
	a.stop()
	<-a.done
}

// kill ends a session without letting it take /live away.
func (a *agent) kill() {
	a.wire.Down()
	a.leave()
}

func (a *agent) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func TestSessionOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		a := start(t, mem, "one", p)
		if err := a.Trusted(); err != nil {
			t.Fatalf("Trusted: %v", err)
		}
		if a.Epoch() != 1 || a.Cluster() == "" || a.WasEvicted() {
			t.Fatalf("epoch %d, cluster %q, evicted %v; want 1, a uuid, false", a.Epoch(), a.Cluster(), a.WasEvicted())
		}
		if p.Known.Cluster != a.Cluster() {
			t.Fatalf("the past knows cluster %q, want %q", p.Known.Cluster, a.Cluster())
		}
		if rec, ok := live(t, mem); !ok || rec.Install != "one" {
			t.Fatalf("live = %+v, %v", rec, ok)
		}
		a.leave()
		if a.err != nil {
			t.Fatalf("Run: %v", a.err)
		}
		if _, ok := live(t, mem); ok {
			t.Fatal("live is still there after a clean leave")
		}
	})
}

// hasty is a past whose first save is the moment at which the agent is told to
// stop.
type hasty struct {
	*storetest.Past
	stop context.CancelFunc
}

func (h hasty) SavePast(m session.Memory) error {
	h.stop()
	return h.Past.SavePast(m)
}

// TestSessionLeavesRightAfterItOpened: what it put into the store it takes away
// also when it is told to stop before anything else happened.
func TestSessionLeavesRightAfterItOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		ctx, stop := context.WithCancel(t.Context())
		s := session.New(mem, session.Identity{Node: "a", Install: "one", Boot: "boot"}, hasty{&storetest.Past{}, stop}, discard)
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if s.Epoch() != 1 {
			t.Fatalf("epoch %d, want that the session was opened", s.Epoch())
		}
		if _, ok := live(t, mem); ok {
			t.Error("live is still there")
		}
	})
}

func TestSessionWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		mem.Down()
		a := start(t, mem, "one", &storetest.Past{})
		if err := a.Trusted(); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Trusted while down: %v, want ErrUnavailable", err)
		}
		if err := storetest.Put(t.Context(), a, "/k"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Commit while down: %v, want ErrUnavailable", err)
		}
		mem.Up()
		<-a.Opened()
		if err := storetest.Put(t.Context(), a, "/k"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSameInstallTakesOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		old := start(t, mem, "one", p)
		old.wire.Hang() // as a stopped process: it neither leaves nor learns
		next := start(t, mem, "one", p)
		if err := next.Trusted(); err != nil {
			t.Fatalf("Trusted: %v", err)
		}
		if got := next.Epoch(); got != 2 {
			t.Fatalf("epoch %d, want 2", got)
		}
		mem.Advance(time.Minute) // the old lease ends and must not take the new /live along
		if _, ok := live(t, mem); !ok {
			t.Fatal("the old agent's lease took the new one's /live away")
		}
		old.wire.Up()
		if err := storetest.Put(t.Context(), old, "/k"); !errors.Is(err, store.ErrFenced) {
			t.Fatalf("Commit of the old agent: %v, want ErrFenced", err)
		}
		if _, err := mem.Get(t.Context(), "/k"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("the fenced write landed: %v", err)
		}
		<-old.done
		if !errors.Is(old.err, store.ErrFenced) {
			t.Fatalf("Run of the old agent: %v, want ErrFenced", old.err)
		}
	})
}
