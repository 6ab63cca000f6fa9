//go:build !race

package conflict_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/conflict"
	"gvlan/ipam/pool"
)

var (
	network = conflict.Pool{ID: "n", Network: "lan", Segment: pool.DefaultSegment, Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	other   = net.HardwareAddr{0, 0x11, 0x22, 0x33, 0x44, 0x55}
)

func place(last byte) pool.Place {
	return pool.At(pool.DefaultSegment, netip.AddrFrom4([4]byte{10, 0, 0, last}))
}

// host has a network, and a LAN that some answer on.
type host struct {
	*conflict.Conflicts
	heard eventstest.Heard
	die   func() // ends its Run

	mu    sync.Mutex
	has   bool // the network
	lan   map[netip.Addr][]net.HardwareAddr
	asked int
	deaf  error                 // of asking there
	nodes int                   // how often all nodes were listed
	held  map[pool.Place]string // endpoints, by their addresses
}

// nodeReader counts who lists all nodes.
type nodeReader struct {
	*storetest.Mem
	by *host
}

func (r nodeReader) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	if span == store.NodesSpan() {
		r.by.mu.Lock()
		r.by.nodes++
		r.by.mu.Unlock()
	}
	return r.Mem.List(ctx, span)
}

func newHost(t *testing.T, mem *storetest.Mem, name string) *host {
	h := &host{has: true, lan: map[netip.Addr][]net.HardwareAddr{}, held: map[pool.Place]string{}}
	h.Conflicts = conflict.New(conflict.Config{
		KV: nodeReader{mem, h}, Node: name, Answers: h.answers, Vendor: func(net.HardwareAddr) string { return "Maker" },
		Pool: func(pool.Place) (conflict.Pool, bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return network, h.has
		},
		Holder: func(at pool.Place) (string, string, bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return "h1", h.held[at], h.held[at] != ""
		},
		Own:    func(pool.Place, net.HardwareAddr) string { return "" },
		Events: &h.heard, Draws: rand.NewPCG(1, uint64(len(name))+uint64(name[1])), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.die = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(h.die)
	return h
}

func (h *host) answers(_ context.Context, _ string, addrs []netip.Addr, _ time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return maps.Clone(h.lan), h.deaf
}

// on has somebody answer for an address, or nobody.
func (h *host) on(at pool.Place, mac ...net.HardwareAddr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lan[at.Addr] = mac
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// alone plays a test in virtual time, with hosts that are connected.
func alone(t *testing.T, play func(t *testing.T, mem *storetest.Mem, h1, h2 *host)) {
	synctest.Test(t, func(t *testing.T) {
		mem := storetest.NewMem()
		for _, name := range []string{"h1", "h2"} {
			put(t, mem, store.LiveKey(name), store.Encode(store.Live{Host: name}))
		}
		play(t, mem, newHost(t, mem, "h1"), newHost(t, mem, "h2"))
	})
}

func put(t *testing.T, mem *storetest.Mem, key string, value []byte) {
	t.Helper()
	if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(key, value)}}); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, h *host, at pool.Place) {
	t.Helper()
	if taken, err := h.Take(t.Context(), conflict.Found{At: at, MAC: other, Network: "lan"}); err != nil || !taken {
		t.Fatalf("it is taken: %t, %v", taken, err)
	}
}

// TestAConflictEndsByItself: the host that found it asks less and less often, and
// when nobody answers any more the address is free.
func TestAConflictEndsByItself(t *testing.T) {
	alone(t, func(t *testing.T, mem *storetest.Mem, h1, h2 *host) {
		h1.on(place(7), other)
		take(t, h1, place(7))
		if taken, err := h2.Take(t.Context(), conflict.Found{At: place(7), MAC: other}); err != nil || taken {
			t.Errorf("another host finds it too: %t, %v", taken, err)
		}
		time.Sleep(time.Minute)
		early := h1.count()
		time.Sleep(time.Hour)
		late := h1.count() - early
		if early < 2 || late < 8 || late > 14 {
			t.Errorf("asked %d times in the first minute and %d times in the hour after it, want some and about 10", early, late)
		}
		if h2.count() != 0 {
			t.Errorf("the other host asked %d times, and the one that found it is connected", h2.count())
		}
		all := h2.All()
		if len(all) != 1 || all[0].MAC != other.String() || all[0].Vendor != "Maker" || all[0].Node != "h1" || all[0].Seen <= all[0].Since {
			t.Errorf("the other host knows of %+v", all)
		}
		h1.on(place(7))
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		free(t, mem, h1, h2)
		if told := h1.heard.Of(events.Conflict, events.ConflictOver); len(told) != 2 || told[1].Kind != events.ConflictOver {
			t.Errorf("told %+v", told)
		}
	})
}

// free fails where something is left of a conflict.
func free(t *testing.T, mem *storetest.Mem, hosts ...*host) {
	t.Helper()
	for _, span := range []store.Span{store.AllLeasesSpan(), store.ConflictsSpan()} {
		if items, _, err := mem.List(t.Context(), span); err != nil || len(items) > 0 {
			t.Errorf("left: %+v, %v", items, err)
		}
	}
	for _, h := range hosts {
		if all := h.All(); len(all) > 0 {
			t.Errorf("a host knows of %+v", all)
		}
	}
}

// TestTheFindersDeath leaves its conflicts to other hosts; a host without the
// network leaves what it found.
func TestTheFindersDeath(t *testing.T) {
	alone(t, func(t *testing.T, mem *storetest.Mem, h1, h2 *host) {
		take(t, h1, place(7)) // a child of h1's own card: h2 hears nobody
		h1.on(place(7), other)
		time.Sleep(time.Hour)
		if len(h2.All()) != 1 {
			t.Error("it ended while the host that found it hears who answers")
		}
		h1.die()
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.LiveKey("h1"))}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		free(t, mem, h2)
		take(t, h2, place(8))
		h2.on(place(8), other)
		h2.mu.Lock()
		h2.has = false
		h2.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		free(t, mem, h2)
	})
}

// TestTheFinderCannotAsk any more though its agent lives: others ask, once it has
// been silent for long.
func TestTheFinderCannotAsk(t *testing.T) {
	alone(t, func(t *testing.T, mem *storetest.Mem, h1, h2 *host) {
		h1.on(place(7), other)
		take(t, h1, place(7))
		h1.mu.Lock()
		h1.deaf = errors.New("the parent is down")
		h1.mu.Unlock()
		time.Sleep(15 * time.Minute)
		if h2.count() != 0 || len(h2.All()) != 1 {
			t.Errorf("the other host asked %d times, and the one that found it hears who answers", h2.count())
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		free(t, mem, h1, h2)
	})
}

// TestManyMACs: who has another one for each answer takes no large network.
func TestManyMACs(t *testing.T) {
	alone(t, func(t *testing.T, _ *storetest.Mem, h1, _ *host) {
		large := network
		large.Ranges = []netip.Prefix{netip.MustParsePrefix("fd00::/64")}
		at := func(n int) pool.Place {
			return pool.At(pool.DefaultSegment, netip.AddrFrom16([16]byte{0xfd, 14: byte(n >> 8), 15: byte(n)}))
		}
		pending := map[pool.Place]string{}
		for n := range conflict.MostInPool {
			mac := net.HardwareAddr{2, 0, 0, 0, byte(n >> 8), byte(n)}
			if n%100 == 0 || n > conflict.MostInPool-5 {
				if _, believed := h1.Believes(at(n), []net.HardwareAddr{mac}, large, pending); !believed {
					t.Fatalf("%d are believed, want more", n)
				}
			}
			pending[at(n)] = mac.String()
		}
		if _, believed := h1.Believes(at(5000), []net.HardwareAddr{other}, large, pending); believed {
			t.Error("any number is believed")
		}
	})
}

// TestContainersOnIpvlan are heard by the MAC addresses of their hosts, all the time:
// that costs no list each time, and drowns no stranger.
func TestContainersOnIpvlan(t *testing.T) {
	alone(t, func(t *testing.T, mem *storetest.Mem, h1, _ *host) {
		parent := net.HardwareAddr{2, 0, 0, 0, 0, 9}
		put(t, mem, store.NodeKey("h2"), store.Encode(store.Node{Node: "h2", Interfaces: []store.Interface{{Name: "eth1", MAC: parent.String()}}}))
		put(t, mem, store.EndpointKey("h1", "e"), store.Encode(store.Endpoint{Endpoint: "e", Node: "h1", Name: "lan"}))
		h1.mu.Lock()
		for last := range byte(200) {
			h1.held[place(last)] = "e"
		}
		h1.mu.Unlock()
		for second := range 60 {
			for last := range byte(100) {
				h1.Heard(place(last), parent)
			}
			if second > 30 {
				h1.Heard(place(150), other)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if all := h1.All(); len(all) != 1 || all[0].MAC != other.String() {
			t.Errorf("the cluster knows of %+v, want the stranger", all)
		}
		if h1.nodes > 4 {
			t.Errorf("all nodes were listed %d times within a minute", h1.nodes)
		}
	})
}

// TestALeaseWins: what a container has, or took over, is no conflict.
func TestALeaseWins(t *testing.T) {
	alone(t, func(t *testing.T, mem *storetest.Mem, h1, h2 *host) {
		lease := store.Encode(store.Lease{State: store.Leased, Node: "h2", Endpoint: "e"})
		put(t, mem, place(7).Key(), lease)
		if taken, err := h1.Take(t.Context(), conflict.Found{At: place(7), MAC: other}); err != nil || taken {
			t.Errorf("a container's address is taken: %t, %v", taken, err)
		}
		take(t, h1, place(8))
		put(t, mem, place(8).Key(), lease) // as a container does whose lease was lost
		h1.on(place(8), net.HardwareAddr{2, 0, 0, 0, 0, 1})
		time.Sleep(time.Minute)
		synctest.Wait()
		if all := h2.All(); len(all) > 0 {
			t.Errorf("left: %+v", all)
		}
		if it, err := mem.Get(t.Context(), place(8).Key()); err != nil || string(it.Value) != string(lease) {
			t.Errorf("the lease is %+v, %v", it, err)
		}
	})
}

// TestBelieved: one MAC address for 32 addresses, all of them for half of a pool.
func TestBelieved(t *testing.T) {
	alone(t, func(t *testing.T, _ *storetest.Mem, h1, _ *host) {
		macOf := func(last byte) net.HardwareAddr { return net.HardwareAddr{0, 1, 2, 3, 4, last} }
		pending := map[pool.Place]string{}
		for last := range byte(conflict.MostOfOne) {
			if _, believed := h1.Believes(place(last), []net.HardwareAddr{other}, network, pending); !believed {
				t.Fatalf("of one MAC address %d are believed", last)
			}
			pending[place(last)] = other.String()
		}
		if _, believed := h1.Believes(place(200), []net.HardwareAddr{other}, network, pending); believed {
			t.Error("one MAC address is believed for any number")
		}
		if mac, believed := h1.Believes(place(200), []net.HardwareAddr{other, macOf(1)}, network, pending); !believed || mac.String() != macOf(1).String() {
			t.Errorf("another one beside it is not: %s, %t", mac, believed)
		}
		said := h1.Warnings()
		if len(said) != 1 || len(h1.heard.Of(events.Conflict)) != 1 {
			t.Errorf("people are told %q", said)
		}
		for last := byte(conflict.MostOfOne); last < 128; last++ {
			if _, believed := h1.Believes(place(last), []net.HardwareAddr{macOf(last)}, network, pending); !believed {
				t.Fatalf("of 256 addresses %d are believed to be others'", last)
			}
			pending[place(last)] = macOf(last).String()
		}
		if _, believed := h1.Believes(place(200), []net.HardwareAddr{macOf(200)}, network, pending); believed {
			t.Error("more than half of a pool is believed to be others'")
		}
		for last := range byte(100) { // a storm of MAC addresses
			h1.Believes(place(200), []net.HardwareAddr{macOf(last)}, network, pending)
		}
		if got := len(h1.Warnings()); got != 16 {
			t.Errorf("people are told of %d MAC addresses, want 16", got)
		}
		time.Sleep(11 * time.Minute)
		if said := h1.Warnings(); len(said) > 0 {
			t.Errorf("people are told still: %q", said)
		}
	})
}

// TestAClaim on a container's address is told once, and ends when nobody else is
// heard, or the container lets go.
func TestAClaim(t *testing.T) {
	alone(t, func(t *testing.T, mem *storetest.Mem, h1, h2 *host) {
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
		rec := store.Endpoint{Endpoint: "e1", Node: "h1", Name: "lan", Segment: pool.DefaultSegment, IPv4: "10.0.0.7/24", MAC: mac.String(), Container: store.Container{Name: "web"}}
		put(t, mem, store.EndpointKey("h1", "e1"), store.Encode(rec))
		hold := func(at pool.Place, endpoint string) {
			for _, h := range []*host{h1, h2} {
				h.mu.Lock()
				h.held[at] = endpoint
				h.mu.Unlock()
			}
		}
		hold(place(7), "e1")
		if h1.Heard(place(8), other) {
			t.Error("a free address is a container's")
		}
		for _, h := range []*host{h1, h2} {
			if !h.Heard(place(7), other) || !h.Heard(place(7), mac) {
				t.Error("a container's address is free")
			}
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		all := h2.All()
		if len(all) != 1 || all[0].MAC != other.String() || all[0].Container != "web" || all[0].Holder != "h1" {
			t.Fatalf("the cluster knows of %+v", all)
		}
		if told := append(h1.heard.Of(events.Conflict), h2.heard.Of(events.Conflict)...); len(told) != 1 {
			t.Errorf("told %+v, want it once", told)
		}
		if said := h1.Warnings(); len(said) != 1 {
			t.Errorf("the container's host warns of %q", said)
		}
		for _, h := range []*host{h1, h2} {
			h.on(place(7), mac, other)
		}
		time.Sleep(10 * time.Minute)
		if len(h2.All()) != 1 {
			t.Error("it ended while the other one answers")
		}
		for _, h := range []*host{h1, h2} {
			h.on(place(7), mac)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if all := h1.All(); len(all) > 0 {
			t.Errorf("it goes on: %+v", all)
		}
	})
}
