//go:build !race

package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// cutOff takes a node's connection away until its /live has ended.
func cutOff(mem *storetest.Mem, a *agent) {
	a.wire.Down()
	mem.Advance(16 * time.Second)
}

// isCopyOf waits for the end of a session that is told that it is a copy's.
func isCopyOf(t *testing.T, clone *agent) *store.HeldError {
	t.Helper()
	held := refused(t, clone)
	if !held.Clone || !held.Younger || held.Host != "host-one" {
		t.Fatalf("the copy is told %+v, want which host has the name", held)
	}
	return held
}

// A copy takes the name while the elder is cut off, as a host does that was
// started anew. The elder comes back, which shows that both run: it goes on, and
// the copy ends, however often the elder is cut off afterwards.
func TestElderTakesItsNameBackFromACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		elder := start(t, mem, "one", p)
		cutOff(mem, elder)
		clone := beginOn(t, mem, "one", "another boot", &storetest.Past{Known: p.Known})
		<-clone.Opened()
		if err := storetest.Put(t.Context(), clone, "/k"); err != nil {
			t.Fatal(err)
		}
		elder.wire.Up()
		isCopyOf(t, clone)
		if !errors.Is(clone.err, store.ErrFenced) {
			t.Errorf("Run of the copy: %v, want ErrFenced", clone.err)
		}
		for range 3 {
			time.Sleep(time.Minute)
			if err := storetest.Put(t.Context(), elder, "/k"); err != nil || elder.Trusted() != nil {
				t.Fatalf("the elder is disturbed: %v, %v", err, elder.Trusted())
			}
			cutOff(mem, elder)
			began := time.Now()
			isCopyOf(t, beginOn(t, mem, "one", "another boot", &storetest.Past{Known: p.Known}))
			if waited := time.Since(began); waited > 0 {
				t.Errorf("the copy waited for %s, though it is known to be one", waited)
			}
			elder.wire.Up()
		}
		if elder.ended() {
			t.Fatalf("the elder ended: %v", elder.err)
		}
	})
}

// An elder whose agent was killed while a copy had the name takes it at its next
// start, as long as its host was not started anew.
func TestElderStartsWhileACopyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		elder := start(t, mem, "one", p)
		elder.kill()
		mem.Advance(16 * time.Second)
		clone := beginOn(t, mem, "one", "another boot", &storetest.Past{Known: p.Known})
		<-clone.Opened()
		elder = start(t, mem, "one", p)
		if err := storetest.Put(t.Context(), elder, "/k"); err != nil {
			t.Fatalf("the elder is refused: %v", err)
		}
		isCopyOf(t, clone)
		elder.leave()
		again := beginOn(t, mem, "one", "third boot", p) // of the elder's host
		<-again.Opened()
		isCopyOf(t, beginOn(t, mem, "one", "another boot", &storetest.Past{Known: p.Known}))
		if err := storetest.Put(t.Context(), again, "/k"); err != nil {
			t.Fatal(err)
		}
	})
}

// The boot before the last is not taken for a copy of anything while it is gone:
// a host is started anew as often as it likes.
func TestManyBoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		for _, boot := range []string{"1", "2", "3", "4"} {
			for range 2 { // an agent that is killed and started again
				a := beginOn(t, mem, "one", boot, p)
				<-a.Opened()
				if err := storetest.Put(t.Context(), a, "/k"); err != nil {
					t.Fatalf("boot %s: %v", boot, err)
				}
				a.kill()
			}
			mem.Advance(16 * time.Second)
		}
	})
}
