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

// refused waits for the end of a session that must end with HeldError.
func refused(t *testing.T, a *agent) *store.HeldError {
	t.Helper()
	<-a.done
	var held *store.HeldError
	if !errors.As(a.err, &held) {
		t.Fatalf("Run: %v, want HeldError", a.err)
	}
	return held
}

func TestAnotherInstallIsRefusedWhileLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		first := start(t, mem, "one", &storetest.Past{})
		second := start(t, mem, "two", &storetest.Past{})
		var waits *store.HeldError
		if err := second.Trusted(); !errors.As(err, &waits) || !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Trusted while it waits: %v, want who holds the name", err)
		}
		held := refused(t, second)
		if held.Install != "one" || held.Host != "host-one" || held.Address != "192.0.2.1" || held.Clone {
			t.Fatalf("HeldError = %+v", held)
		}
		if err := storetest.Put(t.Context(), first, "/k"); err != nil {
			t.Fatalf("the holder was disturbed: %v", err)
		}
	})
}

// A host that was installed anew, or lost its install file, has the name as
// soon as nobody holds it, though a store that is started with it gives the
// dead agent's lease its whole time once more. What is kept under the name is
// left alone until it is settled.
func TestReinstalledHostGetsItsNameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		first := start(t, mem, "one", &storetest.Past{})
		if err := storetest.Put(t.Context(), first, "/leases/x"); err != nil {
			t.Fatal(err)
		}
		first.kill()
		p := &storetest.Past{}
		again := start(t, mem, "two", p)
		mem.Advance(16 * time.Second)
		<-again.Opened()
		if err := again.Trusted(); !errors.Is(err, store.ErrForeign) || !strings.Contains(err.Error(), "gvlan recover") {
			t.Fatalf("Trusted: %v, want ErrForeign and its cure", err)
		}
		if err := storetest.Put(t.Context(), again, "/leases/y"); !errors.Is(err, store.ErrForeign) {
			t.Fatalf("Commit: %v, want ErrForeign", err)
		}
		if _, err := mem.Get(t.Context(), "/leases/y"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("it was written all the same: %v", err)
		}
		again.leave()
		again = start(t, mem, "two", p)
		if err := again.Trusted(); !errors.Is(err, store.ErrForeign) {
			t.Fatalf("Trusted after a restart: %v, want ErrForeign still", err)
		}
		if err := again.Settle(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := storetest.Put(t.Context(), again, "/leases/y"); err != nil {
			t.Fatalf("Commit after Settle: %v", err)
		}
		if err := again.Settle(); err == nil {
			t.Fatal("what is settled is settled again")
		}
		again.leave()
		if again = start(t, mem, "two", p); again.Trusted() != nil {
			t.Fatalf("Trusted later: %v", again.Trusted())
		}
	})
}

// The elder takes its name back at once from an install that took it while it
// was away, and that one learns what to do.
func TestElderTakesItsNameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		elder := start(t, mem, "one", p)
		elder.leave()
		younger := start(t, mem, "two", &storetest.Past{})
		if err := younger.Trusted(); !errors.Is(err, store.ErrForeign) {
			t.Fatalf("Trusted of the younger: %v, want ErrForeign", err)
		}
		elder = start(t, mem, "one", p)
		if err := storetest.Put(t.Context(), elder, "/k"); err != nil {
			t.Fatalf("the elder is refused: %v", err)
		}
		<-younger.done
		if !errors.Is(younger.err, store.ErrFenced) || !strings.Contains(younger.err.Error(), "--node-name") {
			t.Fatalf("Run of the younger: %v, want ErrFenced and the cure", younger.err)
		}
		if held := refused(t, start(t, mem, "two", &storetest.Past{})); held.Install != "one" {
			t.Fatalf("the younger is held by %+v, want the elder", held)
		}
	})
}

// A settled name is its install's, whose it ever was.
func TestSettledNameIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		start(t, mem, "one", &storetest.Past{}).leave()
		younger := start(t, mem, "two", &storetest.Past{})
		if err := younger.Settle(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if held := refused(t, start(t, mem, "one", &storetest.Past{})); held.Install != "two" {
			t.Fatalf("the first is held by %+v, want the settled one", held)
		}
	})
}

// A machine that was copied with its data directory has the same install on
// another boot: it takes nothing while the other lives.
func TestCopyOfAHostWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		elder := start(t, mem, "one", p)
		clone := beginOn(t, mem, "one", "another boot", &storetest.Past{Known: p.Known})
		if held := refused(t, clone); !held.Clone || !strings.Contains(held.Error(), "copy") || !strings.Contains(held.Error(), "machine-id") {
			t.Fatalf("the clone is told %v", held)
		}
		if err := storetest.Put(t.Context(), elder, "/k"); err != nil {
			t.Fatalf("the elder was disturbed: %v", err)
		}
	})
}

// An etcd that was away gives the lease of a dead agent its whole time once
// more: that is no sign of life.
func TestPatienceBeginsAnewAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		start(t, mem, "one", &storetest.Past{}).kill()
		again := start(t, mem, "two", &storetest.Past{})
		for range 4 {
			time.Sleep(20 * time.Second)
			mem.Down()
			time.Sleep(5 * time.Second)
			mem.Up()
		}
		if again.ended() {
			t.Fatalf("it gave up: %v", again.err)
		}
		mem.Advance(16 * time.Second)
		<-again.Opened()
	})
}

// A host that was switched off and on again has its name as soon as the lease
// of its last boot ends.
func TestRebootedHostGetsItsNameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		p := &storetest.Past{}
		start(t, mem, "one", p).kill()
		again := beginOn(t, mem, "one", "another boot", p)
		synctest.Wait()
		if again.Trusted() == nil {
			t.Fatal("it opened while /live of the other boot was there")
		}
		mem.Advance(16 * time.Second)
		<-again.Opened()
		if err := storetest.Put(t.Context(), again, "/k"); err != nil {
			t.Fatal(err)
		}
	})
}
