package ipam

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
	"gvlan/ipam/wanted"
)

func TestManyHostsAtOnceGetDistinctAddresses(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		const each = 60
		var mu sync.Mutex
		given := map[string]string{}
		var work sync.WaitGroup
		for _, name := range []string{"h1", "h2", "h3"} {
			n := c.host(name).mustCreate("10.77.0.0/24")
			for range each {
				work.Go(func() {
					ct, err := n.run("", "")
					if err != nil {
						c.Errorf("run on %s: %v", name, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if other := given[ct.ip()]; other != "" {
						c.Errorf("%s was given on %s and on %s", ct.ip(), other, name)
					}
					given[ct.ip()] = name
				})
			}
		}
		work.Wait()
		if len(given) != 3*each {
			c.Errorf("%d distinct addresses, want %d", len(given), 3*each)
		}
	})
}

func TestLowestFreeIsGivenAgain(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		a, b := n.mustRun("a", ""), n.mustRun("b", "")
		if a.ip() != "10.0.0.2" || b.ip() != "10.0.0.3" {
			c.Errorf("given %s and %s, want 10.0.0.2 and 10.0.0.3: .1 is the gateway", a.ip(), b.ip())
		}
		again := 0
		for range 5 {
			a.stop()
			switch a = n.mustRun("a", ""); a.ip() {
			case "10.0.0.2":
				again++
			case "10.0.0.4": // .2 was just then compared with the store
			default:
				c.Errorf("given %s after a stop, want 10.0.0.2 again", a.ip())
			}
		}
		if again < 3 {
			c.Errorf("10.0.0.2 was given again %d times of 5", again)
		}
	})
}

func TestTheLastAddressIsWaitedForWhileItIsCompared(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/29")
		var all []*container
		for range 5 {
			all = append(all, n.mustRun("", ""))
		}
		all[2].stop()
		id, err := pool.ParseID(n.ids[0])
		h.must(err)
		at := pool.At(id.Segment, netip.MustParseAddr(all[2].ip()))
		release, err := h.Places.Hold(h.ctx(), at)
		h.must(err)
		time.AfterFunc(50*time.Millisecond, release) // long after the request said "full", if it does
		if ct := n.mustRun("", ""); ct.ip() != all[2].ip() {
			c.Errorf("given %s, want %s, the only free one", ct.ip(), all[2].ip())
		}
	})
}

func TestAFullNetworkSaysSoAndOnlyThen(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n1, n2 := c.host("h1").mustCreate("10.0.0.0/29"), c.host("h2").mustCreate("10.0.0.0/29")
		var all []*container
		for i := range 5 {
			n := []*lan{n1, n2}[i%2]
			all = append(all, n.mustRun("", ""))
		}
		_, err := n1.run("", "")
		checkErr(c, err, "every address of 10.0.0.0/29 is taken, reserved, excluded or a host's own: 5 leases on 2 hosts (h1 3, h2 2), 1 reserved; the oldest lease is 10.0.0.2, in use by ")
		checkErr(c, err, ": remove a container, or make a network with a larger subnet")
		all[1].stop() // on the other host; h1's mirror may not know yet
		if ct := n1.mustRun("", ""); ct.ip() != all[1].ip() {
			c.Errorf("given %s, want %s, the only free one", ct.ip(), all[1].ip())
		}
	})
}

func TestRangeLimitsDynamicAddressesOnly(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"192.168.32.0/24"}, ranges: []string{"192.168.32.128/25"}, gateways: []string{"192.168.32.254"}})
		if ct := n.mustRun("", ""); ct.ip() != "192.168.32.128" {
			c.Errorf("given %s, want 192.168.32.128, the range's first", ct.ip())
		}
		if ct := n.mustRun("", "192.168.32.9"); ct.ip() != "192.168.32.9" {
			c.Errorf("given %s, want 192.168.32.9: --ip may lie outside the range", ct.ip())
		}
		small := c.host("h2").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.254/31"}}).define("small")
		if ct := small.mustRun("", ""); ct.ip() != "10.0.0.254" {
			c.Errorf("given %s, want 10.0.0.254", ct.ip())
		}
		_, err := small.run("", "") // .255 is the subnet's broadcast address
		checkErr(c, err, "every address of 10.0.0.254/31 is taken")
		checkErr(c, err, "add another part of the subnet to the range (gvlan network set NAME range+=CIDR)")
		local := c.host("h3").mustCreateWith(flags{subnets: []string{"10.1.0.0/24"}, ranges: []string{"10.1.0.9/32"}})
		local.mustRun("", "")
		_, err = local.run("", "") // nothing sets a network without a definition
		checkErr(c, err, "remove a container, or make a network with a larger subnet")
	})
}

// TestASubnetOfOneAddressHasNoGateway: Docker before 28 asks for one all the
// same, and its answer is no reservation; a gateway that somebody gave is.
func TestASubnetOfOneAddressHasNoGateway(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreate("10.9.0.5/32", "fd00:9::5/128")
		has, _ := AddressingOf(h.Memory, n.id)
		for _, p := range has.Pools {
			if p.Gateway.IsValid() {
				c.Errorf("subnet %s has the gateway %s", p.Subnet, p.Gateway)
			}
		}
		n.define("lone")
		ct := n.mustRun("", "")
		if ct.ip() != "10.9.0.5" {
			c.Errorf("given %s, want 10.9.0.5", ct.ip())
		}
		ct.stop()
		given := h.mustCreateWith(flags{subnets: []string{"10.9.0.6/32"}, gateways: []string{"10.9.0.6"}})
		_, err := given.run("", "")
		checkErr(c, err, "every address of 10.9.0.6/32 is taken, reserved")
	})
}

func TestGatewayWithoutAddressIsTheFirstUsableEvenWithARange(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.1.0.0/24"}, ranges: []string{"10.1.0.128/25"}})
		if got := n.pools[0].Gateway.String(); got != "10.1.0.1" {
			c.Errorf("gateway %s, want 10.1.0.1", got)
		}
	})
}

func TestFullSubnetSpillsIntoTheNetworksNext(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/30", "10.0.1.0/29", "fd00::/64")
		other := h.mustCreate("10.0.0.0/30") // has no second subnet
		first, second := n.mustRun("", ""), n.mustRun("", "")
		if got := first.addrs[0].String(); got != "10.0.0.2/30" {
			c.Errorf("given %s, want 10.0.0.2/30", got)
		}
		if got := second.addrs[0].String(); got != "10.0.1.2/29" {
			c.Errorf("given %s, want 10.0.1.2/29, with the length of that subnet", got)
		}
		_, err := other.run("", "")
		checkErr(c, err, "every address of 10.0.0.0/30 is taken")
		second.stop() // Docker releases it under the id of the first pool
		if _, rec := c.leaseAt("default", "10.0.1.2"); rec.State != "" {
			c.Errorf("10.0.1.2 is still %+v", rec)
		}
	})
}

// TestTheNumericallyFirstSubnetWithRoom is given from, whichever Docker asks with.
func TestTheNumericallyFirstSubnetWithRoom(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.9.0/24", "10.0.1.0/30", "10.0.4.0/24")
		for _, want := range []string{"10.0.1.2/30", "10.0.4.2/24", "10.0.4.3/24"} {
			if got := n.mustRun("", "").addrs[0].String(); got != want {
				c.Errorf("given %s, want %s", got, want)
			}
		}
	})
}

// TestAgedOrder: an address comes again when every other one was given.
func TestAgedOrder(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/29"}, opts: map[string]string{"order": "aged"}})
		n.h.ready()
		for _, want := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3"} {
			ct := n.mustRun("", "")
			if ct.ip() != want {
				c.Errorf("given %s, want %s", ct.ip(), want)
			}
			ct.stop()
		}
	})
}

func TestSubnetsOfOneAddressAndTwo(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		for i, s := range []struct{ subnet, want string }{
			{"10.0.0.4/31", "10.0.0.5"}, {"fd00::4/127", "fd00::5"},
		} {
			n := c.host([]string{"h1", "h2"}[i]).mustCreate(s.subnet)
			if ct := n.mustRun("", ""); ct.ip() != s.want {
				c.Errorf("given %s of %s, want %s", ct.ip(), s.subnet, s.want)
			}
		}
		h := c.host("h3")
		for _, s := range []string{"10.9.0.4/32", "fd00:9::4/128"} {
			n := h.mustCreateWith(flags{subnets: []string{s}, noGateway: true})
			if ct := n.mustRun("", ""); ct.addrs[0].String() != s {
				c.Errorf("given %s, want %s", ct.addrs[0], s)
			}
		}
	})
}

func TestDualStack(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24", "fd00:7::/64")
		ct := n.mustRun("web", "")
		if len(ct.addrs) != 2 || ct.addrs[1].String() != "fd00:7::2/64" {
			c.Errorf("given %v, want a fd00:7::2/64 too", ct.addrs)
		}
		named := n.mustRun("db", "fd00:7::99")
		if named.addrs[1].String() != "fd00:7::99/64" {
			c.Errorf("given %v, want fd00:7::99/64", named.addrs)
		}
		ct.stop()
	})
}

func TestExcludedAndAvoidedAddresses(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{
			subnets: []string{"10.0.0.0/29"},
			opts:    map[string]string{"exclude": "10.0.0.2-10.0.0.3,10.9.9.9"},
		}).define("lan1")
		n.h.Avoid([]wanted.Address{{Segment: pool.DefaultSegment, Address: netip.MustParseAddr("10.0.0.4")}})
		_, err := n.run("", "10.0.0.3")
		checkErr(c, err, "address 10.0.0.3 is excluded from network lan1")
		want := []string{"10.0.0.5", "10.0.0.6", "10.0.0.4"}
		for _, ip := range want {
			if ct := n.mustRun("", ""); ct.ip() != ip {
				c.Errorf("given %s, want %s of %v: .4 is given last", ct.ip(), ip, want)
			}
		}
		_, err = n.run("", "")
		checkErr(c, err, "is taken")
	})
}

// TestHostsOwnAddresses: what a host of the cluster has on the LAN itself is no
// container's, from the first request of an agent on and without a definition.
func TestHostsOwnAddresses(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h2 := store.Node{Node: "id2", Host: "h2", Interfaces: []store.Interface{
			{Name: "eth1", Addresses: []string{"10.0.0.3/24", "fe80::3/64", "fd00:9::1/64"}}, {Name: "lo", Addresses: []string{"127.0.0.1/8"}},
		}}
		if _, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{
			store.Put(store.EpochKey("id2"), store.Encode(store.Epoch{Epoch: 1})), store.Put(store.NodeKey("id2"), store.Encode(h2)),
		}}); err != nil {
			c.Fatal(err)
		}
		h := c.host("h1")
		h.KeepOut(map[netip.Addr]string{netip.MustParseAddr("10.0.0.2"): "h1"}, false)
		n := h.mustCreate("10.0.0.0/24")
		if ct := n.mustRun("", ""); ct.ip() != "10.0.0.4" {
			c.Errorf("given %s, want 10.0.0.4: .1 is the gateway, .2 and .3 are hosts'", ct.ip())
		}
		for addr, host := range map[string]string{"10.0.0.2": "h1", "10.0.0.3": "h2"} {
			_, err := n.run("", addr)
			checkErr(c, err, "address "+addr+" is host "+host+"'s own")
		}
		six := h.mustCreate("fd00:9::/64")
		if ct := six.mustRun("", ""); ct.ip() == "fd00:9::1" {
			c.Error("given fd00:9::1, which is h2's")
		}
		h.KeepOut(nil, true) // the hosts have other addresses now
		if ct := n.mustRun("", "10.0.0.3"); ct.ip() != "10.0.0.3" {
			c.Errorf("given %s, want 10.0.0.3, which is nobody's any more", ct.ip())
		}
	})
}

func TestOverridesHoldAtOnce(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.16/31"}}).define("lan1")
		n.def.Overrides = store.Overrides{
			Exclude: []string{"10.0.0.16/31"},
			Ranges:  []netip.Prefix{netip.MustParsePrefix("10.0.0.64/28")},
		}
		n.h.must(n.h.Adopt(n.id, n.def, 0))
		if ct := n.mustRun("", ""); ct.ip() != "10.0.0.64" {
			c.Errorf("given %s, want 10.0.0.64 of the added range", ct.ip())
		}
	})
}

func TestRandomOrder(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"fd00:5::/64"}, opts: map[string]string{"order": "random"}})
		a, b := n.mustRun("", ""), n.mustRun("", "")
		if a.addrs[0].Addr().Next() == b.addrs[0].Addr() {
			c.Errorf("%s and %s of 2^64 follow each other", a.ip(), b.ip())
		}
	})
}

func TestSegmentsAreApart(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		a := h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"segment": "red"}}).mustRun("", "")
		b := h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"segment": "blue"}}).mustRun("", "")
		if a.ip() != b.ip() {
			c.Errorf("given %s and %s, want one address in both segments", a.ip(), b.ip())
		}
	})
}

func TestOverlappingSubnetsNeverGiveOneAddressTwice(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		wide := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/16"}})
		narrow := c.host("h2").mustCreateWith(flags{subnets: []string{"10.0.0.0/29"}, opts: map[string]string{"overlap": "ok"}})
		given := map[string]bool{}
		for range 4 {
			given[wide.mustRun("", "").ip()] = true
		}
		ct := narrow.mustRun("", "")
		if given[ct.ip()] {
			c.Errorf("%s was given in both subnets", ct.ip())
		}
	})
}

// TestADynamicAddressIsOneRoundTrip counts what the store is asked for a
// request once the mirror is filled.
func TestADynamicAddressIsOneRoundTrip(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		far := &counted{Backend: c.far}
		c.far = far
		n := c.host("h1").mustCreate("10.0.0.0/16")
		n.h.ready()
		n.h.KeepOut(nil, true)
		ctx := context.WithValue(c.Context(), countedCall{}, true)
		var got []string
		for range 20 {
			p, err := n.h.RequestAddress(ctx, AddressRequest{PoolID: n.ids[0]})
			n.h.must(err)
			got = append(got, p.String())
		}
		if commits, reads := far.commits.Load(), far.reads.Load(); commits != 20 || reads != 0 {
			c.Errorf("20 addresses took %d transactions and %d reads, want 20 and 0 (%s)", commits, reads, strings.Join(got, " "))
		}
	})
}

// countedCall marks the context of what counted counts.
type countedCall struct{}

// counted counts what reaches a store of the calls that are marked: whatever
// runs beside them asks in its own time.
type counted struct {
	store.Backend
	commits, reads atomic.Int32
}

func count(ctx context.Context, n *atomic.Int32) {
	if ctx.Value(countedCall{}) != nil {
		n.Add(1)
	}
}

func (b *counted) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	count(ctx, &b.commits)
	return b.Backend.Commit(ctx, txn)
}

func (b *counted) Get(ctx context.Context, key string) (store.Item, error) {
	count(ctx, &b.reads)
	return b.Backend.Get(ctx, key)
}

func (b *counted) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	count(ctx, &b.reads)
	return b.Backend.List(ctx, span)
}

func (b *counted) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	count(ctx, &b.reads)
	return b.Backend.Scan(ctx, span, parts, page)
}
