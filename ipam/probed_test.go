package ipam

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/ipam/conflict"
	"gvlan/ipam/pool"
	"gvlan/ipam/probe"
)

const stranger = "02:99:00:00:00:07"

// strangers has somebody answer for addresses on the LAN of a host.
func (h *host) strangers(mac string, addrs ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strange = map[netip.Addr]string{}
	for _, addr := range addrs {
		h.strange[netip.MustParseAddr(addr)] = mac
	}
}

// waits counts how often a start waited for answers.
func (h *host) waits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hurried
}

// stocked waits until an address is known to be silent.
func (n *lan) stocked(addr string) {
	n.h.c.Helper()
	n.h.waitFor(addr+" to be in stock", func() bool {
		return n.h.Prober().Fresh(n.id, pool.At(pool.DefaultSegment, netip.MustParseAddr(addr)))
	})
}

// TestStrangersAddressesAreNotGiven: what somebody answers for becomes a conflict
// of the whole cluster, --ip of it is refused by who has it, and a start waits for
// nobody once the stock is filled.
func TestStrangersAddressesAreNotGiven(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		c.probes = true
		h1, h2 := c.host("h1"), c.host("h2")
		h1.strangers(stranger, "10.0.0.3", "10.0.0.200")
		n := h1.mustCreate("10.0.0.0/24")
		h1.ready()
		n.stocked("10.0.0.2")
		h1.waitFor("the conflict", func() bool { return len(h1.Foreign().All()) == 1 })
		before := h1.waits()
		for i, want := range []string{"10.0.0.2", "10.0.0.4", "10.0.0.5"} {
			n.stocked(want)
			if ct := n.mustRun(fmt.Sprint("c", i), ""); ct.ip() != want {
				c.Errorf("given %s, want %s", ct.ip(), want)
			}
		}
		if got := h1.waits() - before; got > 1 { // one settles what was answered
			c.Errorf("%d starts waited for the LAN, want none", got)
		}
		_, err := n.run("", "10.0.0.200")
		checkErr(c, err, "address 10.0.0.200 is in use on the LAN by MAC "+stranger)
		_, err = h2.mustCreate("10.0.0.0/24").run("", "10.0.0.3")
		checkErr(c, err, "address 10.0.0.3 is in use on the LAN by MAC "+stranger+", as host h1 saw")
		h1.waitFor("the other conflict", func() bool { return len(h1.Foreign().All()) == 2 })
		h1.strangers(stranger)
		at := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.3"))
		if done, err := h1.Foreign().Clear(c.Context(), at, "by hand"); err != nil || !done {
			c.Fatalf("clear: %t, %v", done, err)
		}
		if ct := n.mustRun("again", "10.0.0.3"); ct.ip() != "10.0.0.3" {
			c.Errorf("given %s", ct.ip())
		}
		h1.cleared()
	})
}

// TestOneCannotTakeThePool: a machine that answers for every address takes half of
// a pool, and containers start all the same.
func TestOneCannotTakeThePool(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		c.probes = true
		h := c.host("h1")
		var all []string
		for last := range 16 {
			all = append(all, fmt.Sprintf("10.0.0.%d", last))
		}
		h.strangers(stranger, all...)
		n := h.mustCreate("10.0.0.0/28")
		h.ready()
		for i := range 4 {
			n.mustRun(fmt.Sprint("c", i), "")
		}
		h.waitFor("conflicts", func() bool { return len(h.Foreign().All()) > 0 })
		if got := len(h.Foreign().All()); got > 8 {
			c.Errorf("%d of 16 addresses are in conflict, want half at most", got)
		}
		if said := h.Foreign().Warnings(); len(said) != 1 {
			c.Errorf("people are told %q, want who answers for all", said)
		}
		h.cleared()
	})
}

// TestProbeOff asks nobody.
func TestProbeOff(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		c.probes = true
		h := c.host("h1")
		h.strangers(stranger, "10.0.0.2")
		n := h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"probe": "off"}})
		h.ready()
		if ct := n.mustRun("c", ""); ct.ip() != "10.0.0.2" || h.waits() > 0 {
			c.Errorf("given %s after %d questions, want 10.0.0.2 and none", ct.ip(), h.waits())
		}
		if _, err := h.create(flags{subnets: []string{"10.1.0.0/24"}, opts: map[string]string{"probe": "maybe"}}); err == nil {
			c.Error("probe=maybe is taken")
		}
	})
}

// TestHeardAMomentAgo: a frame of a container may be read when its lease has ended.
// The one address of a network is given all the same.
func TestHeardAMomentAgo(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		c.probes = true
		h := c.host("h1")
		n := h.mustCreate("10.0.0.9/32")
		h.ready()
		n.stocked("10.0.0.9")
		mac, err := net.ParseMAC(stranger)
		h.must(err)
		for range 3 { // what the agent does by itself may be faster
			h.Prober().Heard(n.id, probe.Answer{At: pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.9")), MAC: mac})
			n.mustRun("c", "").stop()
		}
	})
}

// TestALostLeaseComesBackFromAConflict: the container has the address by right.
func TestALostLeaseComesBackFromAConflict(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		web := h.mustCreate("10.0.0.0/24").mustRun("web", "")
		at := pool.At(pool.DefaultSegment, web.addrs[0].Addr())
		rec := store.Encode(store.Lease{State: store.Conflicted, Node: "h2", MAC: stranger})
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(at.Key(), rec)}})
		h.must(err)
		if _, err := h.leases.reconcile(c.Context(), at); err != nil {
			c.Fatal(err)
		}
		it, err := c.far.Get(c.Context(), at.Key())
		h.must(err)
		if got, err := store.Decode[store.Lease](it); err != nil || got.State != store.Leased || got.Node != "h1" {
			c.Errorf("the record is %+v, %v; want the container's", got, err)
		}
	})
}

// TestHeard: who uses a container's address is told of with his MAC address, and
// one who uses a free one is asked for.
func TestHeard(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		c.probes = true
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/24")
		h.ready()
		web := n.mustRun("web", "")
		h.follows(c)
		n.stocked("10.0.0.9")
		mac, err := net.ParseMAC(stranger)
		h.must(err)
		h.strangers(stranger, "10.0.0.9")
		h.Heard(n.id, netip.MustParseAddr("10.0.0.9"), mac)
		h.waitFor("the conflict over a free address", func() bool {
			return slices.ContainsFunc(h.Foreign().All(), func(x store.Conflict) bool { return x.Address.String() == "10.0.0.9" })
		})
		h.waitFor("the claim on a container's address", func() bool {
			h.Heard(n.id, web.addrs[0].Addr(), mac)
			return slices.ContainsFunc(h.Foreign().All(), func(x store.Conflict) bool {
				return x.Address == web.addrs[0].Addr() && x.MAC == stranger && x.Endpoint == web.endpoint
			})
		})
		own := MAC(h.session.Cluster(), pool.DefaultSegment, netip.MustParseAddr("10.0.0.10"))
		n.stocked("10.0.0.10")
		h.Heard(n.id, netip.MustParseAddr("10.0.0.10"), own)
		n.stocked("10.0.0.10") // a container of ours that was there
		h.cleared()
	})
}

// TestAClaimedAddressIsAskedFor: somebody was heard who uses a container's address,
// so whoever is to have it after that one asks first.
func TestAClaimedAddressIsAskedFor(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		c.probes = true
		h1, h2 := c.host("h1"), c.host("h2")
		n, far := h1.mustCreate("10.0.0.0/24"), h2.mustCreate("10.0.0.0/24")
		h1.ready()
		h2.ready()
		at := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.2"))
		far.stocked("10.0.0.2")
		web := n.mustRun("web", at.Addr.String())
		h1.follows(c)
		h2.follows(c)
		mac, err := net.ParseMAC(stranger)
		h1.must(err)
		for _, h := range []*host{h1, h2} {
			h.strangers(stranger, at.Addr.String())
			id := map[*host]string{h1: n.id, h2: far.id}[h]
			h.waitFor("it follows the endpoints", func() bool { return h.Foreign().Heard(at, mac) })
			h.Heard(id, at.Addr, mac)
		}
		web.stop()
		if h1.Prober().Fresh(n.id, at) || h2.Prober().Fresh(far.id, at) {
			c.Error("it is in stock, and a stranger uses it")
		}
		for _, n := range []*lan{n, far} {
			if ct := n.mustRun("next", ""); ct.ip() == at.Addr.String() {
				c.Error("a stranger's address is given")
			}
		}
		h1.leaves(at)
		h2.leaves(at)
		h1.cleared()
	})
}

// TestWhoTookAnAddressWithoutAWord while it was in stock is told of once a
// container has it.
func TestWhoTookAnAddressWithoutAWord(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		c.probes = true
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/24")
		h.ready()
		n.stocked("10.0.0.2")
		h.strangers(stranger, "10.0.0.2")
		h.follows(c)
		at := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.2"))
		web := n.mustRun("web", "")
		if web.ip() != at.Addr.String() {
			c.Fatalf("it has %s, want %s", web.ip(), at.Addr)
		}
		h.waitFor("the stranger is noticed", func() bool { return h.Foreign().Claimed(at) })
		web.stop()
		if next := n.mustRun("next", ""); next.ip() == at.Addr.String() {
			c.Error("a stranger's address is given")
		}
		h.leaves(at)
		h.cleared()
	})
}

// TestAMACThatIsLikeOurs: plain Docker's macvlan containers have such as
// mac-prefix=02:42 makes. They are strangers but where a network here has that prefix.
func TestAMACThatIsLikeOurs(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		h := c.host("h1")
		at := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.9"))
		mac := net.HardwareAddr{2, 0x42, 10, 0, 0, 9}
		if of := h.bindings.ownMAC(at, mac); of != "" {
			c.Errorf("it is %s, want nobody's", of)
		}
		for _, segment := range []string{"other", pool.DefaultSegment} {
			if of := h.bindings.ownMAC(at, mac); of != "" {
				c.Errorf("it is %s, want nobody's: no network of the segment has the prefix", of)
			}
			n := journal.Network{ID: segment, Segment: segment, Options: option.Options{MACPrefix: "02:42"}}
			h.must(h.Memory.Change(func(c *journal.Change) error { c.Put(n); return nil }))
		}
		if h.bindings.ownMAC(at, mac) == "" {
			c.Error("it is nobody's, and a network here gives such")
		}
	})
}

// TestAStormTakesNoLargeNetwork: for each address of it somebody answers, by a MAC
// address of its own.
func TestAStormTakesNoLargeNetwork(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		c.probes = true
		h := c.host("h1")
		h.mu.Lock()
		h.storm = true
		h.mu.Unlock()
		n := h.mustCreate("fd00::/64")
		h.ready()
		n.mustRun("web", "").stop()
		if got := len(h.Foreign().All()); got > conflict.MostInPool+mostAtOnce {
			c.Errorf("%d addresses are in conflict", got)
		}
		if h.waits() > 40 {
			c.Errorf("the LAN was asked %d times", h.waits())
		}
		h.mu.Lock()
		h.storm = false
		h.mu.Unlock()
		h.cleared()
	})
}

// TestAFloodTakesNothing: frames that say, by as many MAC addresses, that somebody
// uses all addresses of a small network, and nobody who answers: each is given all the
// same, people are told of those that containers have, and memory does not grow.
func TestAFloodTakesNothing(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		c.probes = true
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/28")
		h.ready()
		web := n.mustRun("web", "")
		h.follows(c)
		count := 0
		spoof := func(frames int) {
			for range frames {
				count++
				h.Heard(n.id, netip.AddrFrom4([4]byte{10, 0, 0, byte(count % 16)}), net.HardwareAddr{2, 0x98, 0, byte(count >> 16), byte(count >> 8), byte(count)})
			}
		}
		for i := range 12 { // of 12
			spoof(16)
			n.mustRun(fmt.Sprint("c", i), "")
		}
		h.waitFor("a claim on a container's address", func() bool {
			spoof(16)
			return slices.ContainsFunc(h.Foreign().All(), func(x store.Conflict) bool { return x.Address == web.addrs[0].Addr() && x.Endpoint == web.endpoint })
		})
		for _, x := range h.Foreign().All() {
			if x.Endpoint == "" {
				c.Errorf("free address %s is in conflict, and nobody answers for it", x.Address)
			}
		}
		before := heap()
		spoof(100_000)
		if grown := heap() - before; grown > 1<<20 {
			c.Errorf("the next 100,000 frames cost %d bytes of memory", grown)
		}
	})
}

// heap is how much memory is in use.
func heap() int64 {
	var now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&now)
	return int64(now.HeapAlloc)
}

// leaves takes strangers off the LAN, and waits until nothing that this host heard of
// one who had an address is on its way to the store.
func (h *host) leaves(at pool.Place) {
	h.c.Helper()
	h.strangers(stranger)
	h.waitFor("what it heard is told", func() bool { return !h.Prober().Answering(at.Segment).Has(at.Addr) })
}

// cleared ends the conflicts, as an operator does: nothing is left of them.
func (h *host) cleared() {
	h.c.Helper()
	h.strangers(stranger)
	h.waitFor("no conflict", func() bool {
		for _, x := range h.Foreign().All() {
			if _, err := h.Foreign().Clear(h.c.Context(), pool.At(x.Segment, x.Address), "by hand"); err != nil {
				h.c.Fatal(err)
			}
		}
		items, err := store.All[store.Conflict](h.c.Context(), h.KV, store.ConflictsSpan())
		return err == nil && len(items) == 0
	})
}

// follows has the allocator follow the endpoints, as the agent does.
func (h *host) follows(c *cluster) {
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan error, 1)
	go func() { done <- store.Follow(ctx, c.far, store.EndpointsSpan(), h.ApplyEndpoints) }()
	c.Cleanup(func() {
		cancel()
		<-done
	})
}
