//go:build !race

package evict_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/events"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/evict"
)

// lan is what answers when it is asked for addresses, by the hosts' parents.
type lan struct {
	answers []string // addresses
	deaf    bool     // this host has no way to ask
	asked   int
}

func (l *lan) ask(_ context.Context, all []store.Endpoint) (answering, unasked []store.Endpoint, err error) {
	l.asked++
	for _, e := range all {
		addr, _, _ := strings.Cut(e.IPv4, "/")
		switch {
		case l.deaf:
			unasked = append(unasked, e)
		case slices.Contains(l.answers, addr):
			answering = append(answering, e)
		}
	}
	return answering, unasked, nil
}

// quarantined is a store after the eviction of node dead, which had two
// addresses, with the log of the one node that ends quarantines.
func quarantined(t *testing.T, mem *storetest.Mem, ask evict.Ask) (log *bytes.Buffer) {
	t.Helper()
	evictDead(t, mem)
	return endQuarantines(t, mem, ask)
}

// evictDead evicts node dead, which has two addresses.
func evictDead(t *testing.T, mem *storetest.Mem) {
	t.Helper()
	leased := store.Lease{State: store.Leased, Node: "dead", Network: "net", Endpoint: "e1"}
	put(t, mem, store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 4})),
		store.Put(leaseKey("192.0.2.1"), store.Encode(leased)), store.Put(leaseKey("192.0.2.2"), store.Encode(leased)))
	opts := quick(mem)
	opts.Called = "alpha"
	if took, err := evict.Node(t.Context(), mem, "dead", opts); err != nil || took.Leases != 2 {
		t.Fatalf("took %+v, %v", took, err)
	}
}

// endQuarantines has a node end the quarantines of a store until the test is
// over.
func endQuarantines(t *testing.T, mem *storetest.Mem, ask evict.Ask) (log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	endWith(t, &evict.Quarantines{KV: mem, Grant: mem.Grant, Ask: ask, Events: &eventstest.Heard{}, Log: slog.New(slog.NewTextHandler(log, nil))})
	return log
}

func endWith(t *testing.T, q *evict.Quarantines) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// kept are the addresses of node dead that rest, and whether its quarantine is
// known still.
func kept(t *testing.T, mem *storetest.Mem) (addrs []string, known bool) {
	t.Helper()
	all := dump(t, mem)
	for _, addr := range []string{"192.0.2.1", "192.0.2.2"} {
		if _, there := all[leaseKey(addr)]; there {
			addrs = append(addrs, addr)
		}
	}
	_, known = all[store.QuarantineKey("dead")]
	return addrs, known
}

// A quarantine lasts as long as its etcd lease, whatever clocks say, and ends
// with a question to the LAN.
func TestQuarantineEndsWithItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := storetest.NewMem(), &lan{}
		quarantined(t, mem, l.ask)
		time.Sleep(24 * time.Hour) // of this host's clock; the store's stands still
		if addrs, known := kept(t, mem); len(addrs) != 2 || !known || l.asked > 0 {
			t.Fatalf("%v rest, known %v, asked %d times; want both to rest for as long as the lease lasts", addrs, known, l.asked)
		}
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Minute)
		if addrs, known := kept(t, mem); len(addrs) != 0 || known {
			t.Fatalf("%v still rest, known %v", addrs, known)
		}
	})
}

// Whose an address was that is free, and that it is, is told once, whichever of
// the hosts freed it.
func TestTheEndOfAQuarantineIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := storetest.NewMem(), &lan{answers: []string{"192.0.2.2"}}
		put(t, mem, store.Put(store.NetworkKey("lan"), store.Encode(store.Network{UUID: "net", Name: "lan"})))
		evictDead(t, mem)
		heard := &eventstest.Heard{}
		for range 2 {
			endWith(t, &evict.Quarantines{KV: mem, Grant: mem.Grant, Ask: l.ask, Events: heard, Log: slog.New(slog.DiscardHandler)})
		}
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Minute)
		want := []events.Event{{
			Kind: events.Released, Node: "dead", Network: "lan", Segment: "default", Address: netip.MustParseAddr("192.0.2.1"),
			Endpoint: "e1", Text: "its host was evicted",
		}}
		if diff := cmp.Diff(want, heard.Of(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// What answers stays in quarantine and is asked for again after another rest.
func TestQuarantineKeepsWhatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := storetest.NewMem(), &lan{answers: []string{"192.0.2.2"}}
		log := quarantined(t, mem, l.ask)
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Hour)
		if addrs, known := kept(t, mem); !slices.Equal(addrs, []string{"192.0.2.2"}) || !known || l.asked != 1 {
			t.Fatalf("%v rest, known %v, asked %d times; want the one that answers, asked once", addrs, known, l.asked)
		}
		if !strings.Contains(log.String(), "192.0.2.2") || !strings.Contains(log.String(), "node=alpha") {
			t.Errorf("logged is\n%s\nwant the address and the node", log)
		}
		l.answers = nil
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Minute)
		if addrs, known := kept(t, mem); len(addrs) != 0 || known {
			t.Fatalf("%v still rest, known %v", addrs, known)
		}
	})
}

// What keeps a quarantine from its end is logged once, however often it is tried,
// and once when it is over.
func TestAQuarantineThatDoesNotEndIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := storetest.NewMem(), &lan{}
		failed := errors.New("eth0 is down")
		log := quarantined(t, mem, func(ctx context.Context, all []store.Endpoint) (answering, unasked []store.Endpoint, err error) {
			if failed != nil {
				return nil, nil, failed
			}
			return l.ask(ctx, all)
		})
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Hour)
		if got := strings.Count(log.String(), "eth0 is down"); got != 1 {
			t.Errorf("told %d times within an hour, want once:\n%s", got, log)
		}
		failed = nil
		time.Sleep(time.Minute)
		if !strings.Contains(log.String(), `msg="works again" what="ending the quarantine of alpha" lasted=`) {
			t.Errorf("that it is over is not told:\n%s", log)
		}
	})
}

// A host that cannot ask leaves the addresses to one that can; where none can,
// they are free.
func TestQuarantineIsEndedByWhoCanAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := storetest.NewMem(), &lan{deaf: true}
		quarantined(t, mem, l.ask)
		able := store.Node{Node: "b", Networks: []store.NodeNetwork{{UUID: "net", Parent: "eth1"}}}
		put(t, mem, store.Put(store.NodeKey("b"), store.Encode(able)), store.Put(store.LiveKey("b"), store.Encode(store.Live{})))
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(10 * time.Minute)
		if addrs, known := kept(t, mem); len(addrs) != 2 || !known {
			t.Fatalf("%v rest, known %v: node b could have asked", addrs, known)
		}
		put(t, mem, store.Delete(store.LiveKey("b")))
		time.Sleep(time.Minute)
		if addrs, known := kept(t, mem); len(addrs) != 0 || known {
			t.Fatalf("%v still rest, known %v, though nobody can ask", addrs, known)
		}
	})
}

// An older gvlan evicted the node: nothing but the addresses tells of it.
func TestQuarantineOfAnOlderGvlanEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, l := storetest.NewMem(), &lan{}
		resting := store.Encode(store.Lease{State: store.Quarantined, Node: "dead", Network: "net", Since: 7})
		put(t, mem, store.Put(leaseKey("192.0.2.1"), resting), store.Put(leaseKey("192.0.2.2"), resting))
		endQuarantines(t, mem, l.ask)
		time.Sleep(time.Minute)
		if addrs, known := kept(t, mem); len(addrs) != 2 || !known || l.asked > 0 {
			t.Fatalf("%v rest, known %v, asked %d times; want both to rest, and to be known to", addrs, known, l.asked)
		}
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Minute)
		if addrs, known := kept(t, mem); len(addrs) != 0 || known || l.asked != 1 {
			t.Fatalf("%v still rest, known %v, asked %d times", addrs, known, l.asked)
		}
	})
}

// TestOthersLeasesAreNeverWholeInMemory: an eviction and the quarantine after it
// look for a node's addresses among those of all.
func TestOthersLeasesAreNeverWholeInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const others, own, page = 500, 30, 20
		mem := storetest.NewMem()
		mem.PageSize = page
		put(t, mem, store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 1})))
		addr := netip.MustParseAddr("192.0.2.0")
		for i := range others + own {
			lease := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "other"}
			if i%(others/own) == 0 && i/(others/own) < own {
				lease.Node = "dead"
			}
			put(t, mem, store.Put(store.LeaseKey("default", addr), store.Encode(lease)))
			addr = addr.Next()
		}
		spy := storetest.NewSpy(mem)
		took, err := evict.Node(t.Context(), spy.As("evict"), "dead", quick(mem))
		if err != nil || took.Leases != own {
			t.Errorf("took %d leases (%v), want %d", took.Leases, err, own)
		}
		if r := spy.Reads("evict"); r.Most > page {
			t.Errorf("the eviction read %d items at once, want at most %d", r.Most, page)
		}
		l := &lan{}
		q := &evict.Quarantines{KV: spy.As("end"), Grant: mem.Grant, Ask: l.ask, Events: &eventstest.Heard{}, Log: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- q.Run(ctx) }()
		mem.Advance(10*time.Minute + time.Second)
		time.Sleep(time.Minute)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left, _, _ := mem.List(t.Context(), store.AllLeasesSpan()); len(left) != others {
			t.Errorf("%d leases are left, want the %d others'", len(left), others)
		}
		if r := spy.Reads("end"); r.Most > page {
			t.Errorf("the end of the quarantine read %d items at once, want at most %d", r.Most, page)
		}
	})
}
