//go:build !race

package events_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// host is an agent with what its session would do of /live.
type host struct {
	*agent
	kv   *storetest.Wire
	node string
	live store.LeaseID
	die  func() // without a word
}

func beginHost(t *testing.T, mem *storetest.Mem, node string) *host {
	t.Helper()
	h := &host{kv: storetest.NewWire(mem), node: node}
	h.connect(t)
	h.agent = begin(t, node, h.kv, newKept())
	w := &events.Witness{
		Recorder: h.Recorder, Live: store.NewTable[store.Live](store.LiveSpan(), func(error) {}),
		Epochs: store.NewTable[store.Epoch](store.EpochsSpan(), func(error) {}), Version: "v1",
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = w.Live.Run(ctx, h.kv) })
	run.Go(func() { _ = w.Epochs.Run(ctx, h.kv) })
	run.Go(func() { _ = w.Run(ctx, h.kv, h.kv) })
	h.die = sync.OnceFunc(func() { h.kv.Down(); cancel(); run.Wait(); h.stop() })
	t.Cleanup(h.die)
	return h
}

func (h *host) connect(t *testing.T) {
	t.Helper()
	lease, err := h.kv.Grant(t.Context(), 15)
	if err != nil {
		t.Fatal(err)
	}
	put := store.Put(store.LiveKey(h.node), store.Encode(store.Live{Host: h.node, Since: time.Now().Unix()}))
	put.Lease = lease
	if _, err := h.kv.Commit(t.Context(), store.Txn{Then: []store.Op{put}}); err != nil {
		t.Fatal(err)
	}
	h.live = lease
}

func disconnect(t *testing.T, mem *storetest.Mem, hosts ...*host) {
	t.Helper()
	for _, h := range hosts {
		if err := mem.Revoke(t.Context(), h.live); err != nil {
			t.Fatal(err)
		}
	}
}

func beginHosts(t *testing.T, mem *storetest.Mem, n int) (hosts []*host) {
	t.Helper()
	for i := range n {
		hosts = append(hosts, beginHost(t, mem, fmt.Sprintf("h%d", i+1)))
	}
	pass(5 * time.Second)
	return hosts
}

func cameAndWent(t *testing.T, mem *storetest.Mem) (said []string) {
	t.Helper()
	for _, e := range read(t, mem, events.Filter{Kinds: []events.Kind{events.HostCame, events.HostWent}}) {
		said = append(said, fmt.Sprintf("%s %s: %s", e.Kind, e.Node, e.Text))
	}
	slices.Sort(said) // in a test many happen at one moment
	return said
}

const (
	began = "its agent began, gvlan v1"
	died  = "without a word: it died, or is cut off from the store"
)

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestHostsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		hosts := beginHosts(t, mem, 5)
		want := []string{"host-came h1: " + began, "host-came h2: " + began, "host-came h3: " + began, "host-came h4: " + began, "host-came h5: " + began}
		expect(t, cameAndWent(t, mem), want...)

		// One says that it goes.
		if err := hosts[0].Leave(t.Context(), hosts[0].kv, hosts[0].kv, "its agent was stopped"); err != nil {
			t.Fatal(err)
		}
		hosts[0].die()
		disconnect(t, mem, hosts[0])
		pass(time.Minute)
		want = append(want, "host-went h1: its agent was stopped")
		expect(t, cameAndWent(t, mem), want...)

		// Two die at once: whoever would have told of one is the other, maybe.
		hosts[1].die()
		hosts[2].die()
		disconnect(t, mem, hosts[1], hosts[2])
		pass(time.Minute)
		want = append(want, "host-went h2: "+died, "host-went h3: "+died)
		expect(t, cameAndWent(t, mem), want...)

		// One is cut off, and comes back.
		hosts[3].kv.Hang()
		disconnect(t, mem, hosts[3])
		pass(time.Minute)
		want = append(want, "host-went h4: "+died)
		expect(t, cameAndWent(t, mem), want...)
		hosts[3].kv.Up()
		hosts[3].connect(t)
		pass(time.Minute)
		want = append(want, "host-came h4: connected again")
		expect(t, cameAndWent(t, mem), want...)

		// It is so again: another life.
		hosts[3].kv.Hang()
		disconnect(t, mem, hosts[3])
		pass(time.Minute)
		want = append(want, "host-went h4: "+died)
		expect(t, cameAndWent(t, mem), want...)
	})
}

// TestOneTellsOfEachDeath: whoever dies of however many, the store hears of it
// once.
func TestOneTellsOfEachDeath(t *testing.T) {
	for n := range 6 {
		synctest.Test(t, func(t *testing.T) {
			mem := storetest.NewMem()
			spy := 0
			hosts := beginHosts(t, mem, 6)
			before := mem.Revision()
			hosts[n].die()
			disconnect(t, mem, hosts[n])
			pass(time.Minute)
			for _, it := range []events.Filter{{Nodes: []string{hosts[n].node}, Kinds: []events.Kind{events.HostWent}}} {
				spy += len(read(t, mem, it))
			}
			if spy != 1 || mem.Revision() != before+2 { // the end of /live, and the word of it
				t.Errorf("of %s %d hosts told, by %d writes", hosts[n].node, spy, mem.Revision()-before-1)
			}
		})
	}
}

// TestGate: who closed the gate, or opened it, tells, and no agent after it.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		hosts := beginHosts(t, mem, 2)
		write := func(op store.Op) {
			t.Helper()
			if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{op}}); err != nil {
				t.Fatal(err)
			}
			hosts[0].kv.Disconnect() // what is listed again is no news
			pass(time.Minute)
		}
		write(store.Put(store.GateKey(), store.Encode(store.Gate{Node: "h1", Why: "it went back", Since: time.Now().Unix()})))
		write(store.Delete(store.GateKey()))
		write(store.Put(store.RecoveryKey(), store.Encode(store.Recovery{Node: "h2", Since: time.Now().Unix()})))
		var got []string
		for _, e := range read(t, mem, events.Filter{Kinds: []events.Kind{events.GateClosed, events.GateOpened}}) {
			got = append(got, fmt.Sprintf("%s %s: %s", e.Kind, e.Node, e.Text))
		}
		expect(t, got, "gate-closed h1: it went back", "gate-opened h2: the recovery is over")
	})
}

// TestNoDeparture: of who was evicted the eviction tells, and who is back before
// anybody told has not gone.
func TestNoDeparture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		hosts := beginHosts(t, mem, 3)
		evicted := store.Put(store.EpochKey("h1"), store.Encode(store.Epoch{Epoch: 2, Evicted: true}))
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{evicted}}); err != nil {
			t.Fatal(err)
		}
		disconnect(t, mem, hosts[0], hosts[1])
		pass(time.Second)
		hosts[1].connect(t)
		pass(time.Minute)
		expect(t, cameAndWent(t, mem), "host-came h1: "+began, "host-came h2: "+began, "host-came h2: connected again", "host-came h3: "+began)
	})
}
