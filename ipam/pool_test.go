package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/journal"
	"gvlan/ipam/pool"
)

func TestBadInputLeavesNothing(t *testing.T) {
	for _, s := range []struct {
		name string
		f    flags
		err  string
	}{
		{"option", flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"segmnt": "a"}}, "did you mean segment?"},
		{"subnet", flags{subnets: []string{"10.0.0/24"}}, `--subnet "10.0.0/24" is not a subnet`},
		{"range", flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.1.0/25"}}, "--ip-range 10.0.1.0/25 is not inside --subnet 10.0.0.0/24"},
		{"range alone", flags{subnets: []string{""}, ranges: []string{"10.0.1.0/25"}}, "--ip-range 10.0.1.0/25 needs a --subnet"},
		{"gateway outside", flags{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.1.1"}}, "address 10.0.1.1 is not inside subnet 10.0.0.0/24"},
		{"gateway is broadcast", flags{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.0.255"}}, "broadcast address"},
		{"aux is the gateway", flags{subnets: []string{"10.0.0.0/24"}, aux: map[string]string{"a": "10.0.0.1"}}, "address 10.0.0.1 is already reserved for this network"},
		{"aux twice", flags{subnets: []string{"10.0.0.0/24"}, aux: map[string]string{"a": "10.0.0.9", "b": "10.0.0.9"}}, "already reserved"},
		{"second subnet", flags{subnets: []string{"10.0.0.0/24", "10.0.0.0/25"}}, "--subnet 10.0.0.0/25 begins where 10.0.0.0/24 of another network of this host does"},
		{"leased gateway", flags{subnets: []string{"10.9.0.0/24"}, gateways: []string{"10.9.0.50"}}, "address 10.9.0.50 cannot be reserved for the network: it is in use by container web on node h2 (network lan9)"},
		{"leased aux", flags{subnets: []string{"10.9.0.0/24"}, aux: map[string]string{"a": "10.9.0.50"}}, "in use by container web on node h2"},
		{"default and then bad", flags{subnets: []string{"", "fd00::/300"}}, "is not a subnet"},
	} {
		t.Run(s.name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				c.host("h2").mustCreateWith(flags{subnets: []string{"10.9.0.0/24"}, noGateway: true}).define("lan9").mustRun("web", "10.9.0.50")
				h := c.host("h1")
				_, err := h.create(s.f)
				checkErr(t, err, s.err)
				if items := c.list(store.AllLeasesSpan()); len(items) != 1 {
					t.Errorf("the store holds %v, want web's lease alone", KeysOf(items))
				}
				if items := c.list(store.DefaultPoolsSpan()); len(items) != 0 {
					t.Errorf("the store holds %v, want no default subnet", KeysOf(items))
				}
				if held, err := h.Provisional(t.Context()); err != nil || len(held) != 0 {
					t.Errorf("held %+v, %v, want nothing", held, err)
				}
			})
		})
	}
}

func TestForeignSpaceIsRefused(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		_, err := c.host("h1").RequestPool(c.Context(), PoolRequest{Space: "LocalDefault", Pool: "10.0.0.0/24"})
		checkErr(t, err, "want gvlan-local or gvlan-global")
	})
}

func TestHostBitsAreMasked(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		reply, err := c.host("h1").RequestPool(c.Context(), PoolRequest{Space: pool.GlobalSpace, Pool: "10.0.0.77/24", SubPool: "10.0.0.99/27"})
		if err != nil || reply.Subnet != mustPrefix("10.0.0.0/24") {
			t.Fatalf("reply %+v %v, want subnet 10.0.0.0/24", reply, err)
		}
		if id, err := pool.ParseID(reply.ID); err != nil || id.Range != mustPrefix("10.0.0.96/27") {
			t.Errorf("id %+v %v, want range 10.0.0.96/27", id, err)
		}
	})
}

func TestOverlapWithADefinitionOfAnotherHost(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		c.host("h1").mustCreate("10.0.0.0/16").define("lan1")
		h := c.host("h2")
		_, err := h.create(flags{subnets: []string{"10.0.0.0/24"}})
		checkErr(c, err, "begins where 10.0.0.0/16 of network lan1 does: give the same length, or --ipam-opt overlap=ok")
		h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"overlap": "ok"}})
		h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"segment": "other"}})
		h.mustCreateWith(flags{subnets: []string{"10.0.7.0/24"}}) // legal, with a warning
	})
}

// TestOverlapIsWithTheDefinitionsOfNow: those that a host read before count as
// they are now, changed, gone or come, few or many.
func TestOverlapIsWithTheDefinitionsOfNow(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		put := func(i int, subnet string) {
			c.Helper()
			name := fmt.Sprintf("lan%d", i)
			def := store.Network{UUID: name, Name: name, State: store.NetworkActive, Scope: store.ScopeGlobal,
				Created: store.Definition{Segment: pool.DefaultSegment, Pools: []store.Pool{{Subnet: mustPrefix(subnet)}}}}
			if _, err := h.KV.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(store.NetworkKey(name), store.Encode(def))}}); err != nil {
				c.Fatal(err)
			}
		}
		check := func(subnet, want string) {
			c.Helper()
			_, err := h.RequestPool(c.Context(), PoolRequest{Space: pool.LocalSpace, Pool: subnet})
			if want == "" && err == nil {
				return
			}
			checkErr(c, err, want)
		}
		for i := range 2 * readSingly {
			put(i, fmt.Sprintf("10.%d.0.0/16", i))
		}
		check("10.0.0.0/24", "10.0.0.0/16 of network lan0")
		check("10.7.0.0/24", "10.7.0.0/16 of network lan7")
		put(0, "10.100.0.0/16")
		check("10.0.0.0/24", "")
		check("10.100.0.0/24", "10.100.0.0/16 of network lan0")
		check("10.1.0.0/24", "10.1.0.0/16 of network lan1")
		if _, err := h.KV.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(store.NetworkKey("lan1"))}}); err != nil {
			c.Fatal(err)
		}
		check("10.1.0.0/24", "")
		for i := range 2 * readSingly {
			put(i, fmt.Sprintf("10.%d.0.0/16", 20+i))
		}
		check("10.2.0.0/24", "")
		check("10.22.0.0/24", "10.22.0.0/16 of network lan2")
	})
}

func TestTwoNetworksOnOneSubnet(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		one := h.mustCreateWith(flags{subnets: []string{"192.168.1.0/24"}, gateways: []string{"192.168.1.1"}}).define("one")
		two := h.mustCreateWith(flags{subnets: []string{"192.168.1.0/24"}, gateways: []string{"192.168.1.254"}}).define("two")
		three, four := h.mustCreate("192.168.1.0/24").define("three"), h.mustCreate("192.168.1.0/24").define("four")
		for _, n := range []*lan{one, two, three, four} {
			got, _ := AddressingOf(h.Memory, n.id)
			want := "192.168.1.1" // given to one, chosen for three and four
			if n == two {
				want = "192.168.1.254"
			}
			if got.Pools[0].Gateway.String() != want {
				c.Errorf("network %s has gateway %s, want %s", n.def.Name, got.Pools[0].Gateway, want)
			}
			n.mustRun("", "")
		}
		_, err := one.run("", "192.168.1.254")
		checkErr(c, err, "address 192.168.1.254 is the gateway of network two")
	})
}

func TestDefaultPools(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h1, h2 := c.host("h1"), c.host("h2")
		h2.routes = []netip.Prefix{mustPrefix("0.0.0.0/0"), mustPrefix("172.20.5.0/24")}
		a := h1.mustCreate("").define("a")
		b := h2.mustCreate("")
		d := h2.mustCreate("")
		got := []string{a.pools[0].Subnet.String(), b.pools[0].Subnet.String(), d.pools[0].Subnet.String()}
		if want := []string{"172.18.0.0/16", "172.19.0.0/16", "172.21.0.0/16"}; !slices.Equal(got, want) {
			c.Errorf("given %v, want %v: .20 is on a route of h2", got, want)
		}
		replica := h2.mustCreate("172.18.0.0/16") // replicas get it explicitly
		a.mustRun("", "")
		replica.mustRun("", "")
		b.remove()
		c.until("the subnet of b is given back", store.DefaultPoolsSpan(), func(items []store.Item) bool { return len(items) == 2 })
		if again := h1.mustCreate(""); again.pools[0].Subnet.String() != "172.19.0.0/16" {
			c.Errorf("given %s, want 172.19.0.0/16, which is free again", again.pools[0].Subnet)
		}
	})
}

func TestHostsAtOnceGetDistinctDefaultPools(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		given := make(chan netip.Prefix, 12)
		var work sync.WaitGroup
		for _, name := range []string{"h1", "h2", "h3"} {
			h := c.host(name)
			for range 4 {
				work.Go(func() {
					n, err := h.create(flags{subnets: []string{""}})
					if err != nil {
						c.Errorf("create on %s: %v", name, err)
						return
					}
					given <- n.pools[0].Subnet
				})
			}
		}
		work.Wait()
		close(given)
		seen := map[netip.Prefix]bool{}
		for subnet := range given {
			if seen[subnet] {
				c.Errorf("%s was given twice", subnet)
			}
			seen[subnet] = true
		}
	})
}

// TestDefaultPoolIsNeverTheSameTwiceInOneCreate plays the engines up to 27,
// which ask again while the answer does not suit them.
func TestDefaultPoolIsNeverTheSameTwiceInOneCreate(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		seen := map[netip.Prefix]bool{}
		var ids []string
		for {
			reply, err := h.RequestPool(c.Context(), PoolRequest{Space: pool.LocalSpace})
			if err != nil {
				checkErr(c, err, "no default subnet is free: they are those of host h1 (14: local networks, and creates that have not ended")
				checkErr(c, err, "; give one with --subnet, or more with --default-pools")
				break
			}
			if seen[reply.Subnet] {
				c.Fatalf("%s was given twice", reply.Subnet)
			}
			seen[reply.Subnet] = true
			ids = append(ids, reply.ID)
		}
		if len(seen) != 14 {
			c.Errorf("%d subnets, want 14", len(seen))
		}
		for _, id := range ids {
			h.must(h.ReleasePool(c.Context(), id))
		}
		if items := c.list(store.DefaultPoolsSpan()); len(items) != 0 {
			c.Errorf("the store holds %v, want nothing", KeysOf(items))
		}
	})
}

func TestDefaultPoolsOfIPv6AreTheClusters(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		a, b := c.host("h1").mustCreate("", "v6"), c.host("h2").mustCreate("v6")
		first, second := a.pools[1].Subnet, b.pools[0].Subnet
		if first.Bits() != 64 || first.Addr().As16()[0] != 0xfd || first == second {
			c.Errorf("given %s and %s, want two /64s below fd00::/8", first, second)
		}
		site := netip.PrefixFrom(first.Addr(), 48).Masked()
		if !site.Contains(second.Addr()) {
			c.Errorf("%s is not in %s: both are the cluster's", second, site)
		}
		a.mustRun("", "")
	})
}

func TestAnInDoubtDefaultPoolIsGivenBack(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		h.ready()
		ctx := h.mute(store.DefaultPoolsSpan(), func(items []store.Item) bool { return len(items) == 1 })
		if _, err := h.RequestPool(ctx, PoolRequest{Space: pool.LocalSpace}); err == nil {
			c.Error("a subnet was given without an answer")
		}
		h.hear()
		c.until("the subnet is given back", store.DefaultPoolsSpan(), empty)
	})
}

// TestReplicaSharesItsDefinitionsReservations follows one definition through
// three hosts to its end.
func TestReplicaSharesItsDefinitionsReservations(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		f := flags{subnets: []string{"10.0.0.0/24"}, aux: map[string]string{"nas": "10.0.0.9"}}
		origin := c.host("h1").mustCreateWith(f).define("lan1")
		lans := []*lan{origin}
		for _, name := range []string{"h2", "h3"} {
			replica := c.host(name).mustCreateWith(f)
			replica.def = origin.def
			replica.h.must(replica.h.Adopt(replica.id, origin.def, 0))
			lans = append(lans, replica)
		}
		c.until("only the definition needs the reservations", store.AllLeasesSpan(), func(items []store.Item) bool {
			for _, it := range items {
				if rec, err := store.Decode[store.Lease](it); err != nil || !slices.Equal(rec.By, []string{origin.def.UUID}) {
					return false
				}
			}
			return len(items) == 2
		})
		for _, n := range lans {
			ct := n.mustRun("", "")
			defer ct.stop()
		}
		lans[1].remove() // the network goes from one host, and comes back
		_, err := lans[2].run("", "10.0.0.1")
		checkErr(c, err, "is the gateway of network lan1")
		lans[1] = lans[1].h.mustCreateWith(f)
		lans[1].h.must(lans[1].h.Adopt(lans[1].id, origin.def, 0))
	})
}

// TestAdoptKeepsWhatTheDefinitionDoesNotReserve: the gateway of a network
// whose definition somebody else wrote, without it.
func TestAdoptKeepsWhatTheDefinitionDoesNotReserve(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.must(n.h.Adopt(n.id, store.Network{UUID: "uuid", Name: "lan1"}, 0))
		n.h.attend(c.Context())
		if _, rec := c.leaseAt("default", "10.0.0.1"); rec.State != store.Reserved {
			c.Errorf("the gateway is %+v, want it reserved", rec)
		}
	})
}

func TestTheLastDefinitionTakesTheReservationWithIt(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		a, b := h.mustCreate("10.0.0.0/24").define("a"), h.mustCreate("10.0.0.0/24").define("b")
		d := h.mustCreate("").define("d")
		a.remove()
		a.undefine()
		if _, rec := c.leaseAt("default", "10.0.0.1"); !slices.Equal(rec.By, []string{b.def.UUID}) {
			c.Errorf("the gateway is reserved by %v, want %s alone", rec.By, b.def.UUID)
		}
		b.remove()
		b.undefine()
		d.undefine()
		d.remove()
		c.until("nothing is left", store.AllLeasesSpan(), empty)
		c.until("no default subnet is left", store.DefaultPoolsSpan(), empty)
	})
}

// TestNetworkWithoutDefinitionKeepsItsReservations is a local network, or
// one whose name another host won.
func TestNetworkWithoutDefinitionKeepsItsReservations(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24", "")
		n.mustRun("", "").stop()
		if held, _ := n.h.Provisional(c.Context()); len(held) != 0 {
			c.Errorf("held %+v, want nothing: the network was created", held)
		}
		n.h.restart()
		n.h.must(n.h.ReleaseAddress(c.Context(), n.ids[0], "10.0.0.1")) // of a removal that then failed
		_, err := c.host("h2").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, noGateway: true}).run("", "10.0.0.1")
		checkErr(c, err, "reserved for a network")
		n.remove()
		c.until("nothing is left", store.AllLeasesSpan(), empty)
	})
}

// TestADefaultSubnetThatIsBeingTaken is in the store before it is in the journal: it
// is given back to nobody when a comparison sees it then.
func TestADefaultSubnetThatIsBeingTaken(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		h.ready()
		n := h.mustCreate("")
		items := c.list(store.DefaultPoolsSpan())
		if len(items) != 1 {
			c.Fatalf("default subnets %v, want one", KeysOf(items))
		}
		p, _ := h.Memory.Pool(n.ids[0])
		stray := Held{Kind: HeldStray, Subnet: p.Parsed.Subnet, Nonce: p.Parsed.Nonce}
		h.upkeep.strays.add(stray) // as was seen before
		if held, err := h.Provisional(c.Context()); err != nil || len(held) > 0 {
			c.Errorf("held %+v, %v, want nothing: a network has it", held, err)
		}
		n.remove() // what a lost journal does not know the network owes stays
		if held, err := h.Provisional(c.Context()); err != nil || !slices.Equal(held, []Held{stray}) {
			c.Errorf("held %+v, %v, want %+v", held, err, stray)
		}
	})
}

func TestGatewayStaysOfAnOldEngineThatInsists(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.pools[0].Gateway = netip.Addr{} // internal: the definition has none, the engine asked all the same
		n.def = store.Network{UUID: "uuid", Name: "lan1", State: store.NetworkActive,
			Created: store.Definition{Segment: "default", Pools: []store.Pool{{Subnet: n.pools[0].Subnet}}}}
		n.commitDefinition()
		if ct := n.mustRun("", ""); ct.ip() != "10.0.0.2" {
			c.Errorf("given %s, want 10.0.0.2", ct.ip())
		} else {
			ct.stop()
		}
		n.undefine()
		n.remove()
		c.until("nothing is left", store.AllLeasesSpan(), empty)
	})
}

// TestAttachJoinsOldestFirst creates two networks of one subnet at once, after
// a create of a third that was broken off.
func TestAttachJoinsOldestFirst(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		h := c.host("h1")
		_, _, err := h.openOne(flags{}, 0, "10.0.0.0/24")
		h.must(err)
		h.later(time.Minute)
		open := func(within, gateway string) (string, pool.Data) {
			data, id, err := h.openOne(flags{ranges: []string{within}, gateways: []string{gateway}}, 0, "10.0.0.0/24")
			h.must(err)
			return id, data
		}
		first, one := open("10.0.0.16/28", "")
		second, two := open("10.0.0.32/28", "")
		third, three := open("10.0.0.48/28", "10.0.0.254")
		for _, s := range []struct {
			network, want string
			data          pool.Data
		}{{"c", third, three}, {"a", first, one}, {"b", second, two}, {"a", first, one}} {
			h.must(h.Attach(s.network, []pool.Data{s.data}))
			if p, _ := h.Memory.Pool(s.want); p.Network != s.network {
				t.Errorf("pool %s is network %q's, want %q", s.want, p.Network, s.network)
			}
		}
		// Docker spoke of a fourth while the call that makes "d" waited.
		fourth, four := open("10.0.0.64/28", "")
		arrived := h.Now()
		h.later(2 * atOnce)
		fifth, five := open("10.0.0.80/28", "")
		h.must(h.Memory.Change(func(c *journal.Change) error {
			h.Allocator.Attach(c, "d", []pool.Data{four}, arrived)
			return nil
		}))
		h.must(h.Attach("e", []pool.Data{five}))
		for id, network := range map[string]string{fourth: "d", fifth: "e"} {
			if p, _ := h.Memory.Pool(id); p.Network != network {
				t.Errorf("pool %s is network %q's, want %q", id, p.Network, network)
			}
		}
		got, _ := AddressingOf(h.Memory, "b")
		want := []store.Pool{{Subnet: mustPrefix("10.0.0.0/24"), Range: mustPrefix("10.0.0.32/28"), Gateway: netip.MustParseAddr("10.0.0.1"), Aux: map[string]netip.Addr{}}}
		if diff := cmp.Diff(want, got.Pools, comparers); diff != "" {
			t.Errorf("Pools (-want +got):\n%s", diff)
		}
		if got, _ := AddressingOf(h.Memory, "c"); !got.Pools[0].Asked {
			t.Error("the gateway of c was asked for, its pool says it was not")
		}
	})
}

// TestAttachPassesOverWhatIsNotBeingCreated: a pool that looks the same is
// left of a create that its engine or agent did not live to end, or another
// driver's. What is asked of the repeated create's is for its network.
func TestAttachPassesOverWhatIsNotBeingCreated(t *testing.T) {
	for name, since := range map[string]func(h *host){
		"the engine came back": func(h *host) { h.later(3 * time.Second) },
		"the agent came back":  func(h *host) { h.restart() }, // sooner than an engine
		"the clock went back":  func(h *host) { h.later(-time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				h := c.host("h1")
				_, left, err := h.openOne(flags{}, 0, "10.0.0.0/24")
				h.must(err)
				since(h)
				n := h.mustCreate("10.0.0.0/24").define("lan1")
				n.mustRun("web", "10.0.0.7")
				n.mustRun("db", "")
				held, err := h.Provisional(c.Context())
				h.must(err)
				if p, _ := h.Memory.Pool(left); !slices.Equal(held, []Held{heldPool(p)}) {
					c.Errorf("held %+v, want the pool that was left", held)
				}
			})
		})
	}
}

// TestAnotherDriversNetwork: its pools are never joined, its endpoints never
// bound. Old engines do not say that an endpoint asks.
func TestAnotherDriversNetwork(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h, ctx := c.host("h1"), c.Context()
		data, id, err := h.openOne(flags{ranges: []string{"10.0.0.64/27"}}, 0, "10.0.0.0/24")
		h.must(err)
		got, err := h.RequestAddress(ctx, AddressRequest{PoolID: id})
		h.must(err)
		if got.String() != "10.0.0.64/24" {
			c.Errorf("given %s, want 10.0.0.64/24", got)
		}
		for _, options := range []map[string]string{nil, {pool.EndpointName: "web"}} {
			for range 2 {
				r := AddressRequest{PoolID: id, Address: "10.0.0.9", Options: options}
				_, err := h.RequestAddress(ctx, r)
				h.must(err)
				h.must(h.ReleaseAddress(ctx, id, "10.0.0.9"))
			}
		}
		for _, s := range []struct {
			options map[string]string
			err     string
		}{{nil, "already reserved"}, {map[string]string{pool.EndpointName: "web"}, "is being given to another container"}} {
			r := AddressRequest{PoolID: id, Address: "10.0.0.9", Options: s.options}
			_, err = h.RequestAddress(ctx, r)
			h.must(err)
			_, err = h.RequestAddress(ctx, r) // by a second container: the first never binds
			checkErr(c, err, s.err)
			h.must(h.ReleaseAddress(ctx, id, "10.0.0.9"))
		}
		h.must(h.ReleaseAddress(ctx, id, got.Addr().String()))
		h.must(h.ReleaseAddress(ctx, id, data.Gateway.String()))
		h.must(h.ReleasePool(ctx, id))
		if items := c.list(store.AllLeasesSpan()); len(items) != 0 {
			c.Errorf("the store holds %v, want nothing", KeysOf(items))
		}
	})
}

// TestAnAbandonedCreateIsHeld: dockerd died between RequestPool and
// CreateNetwork.
func TestAnAbandonedCreateIsHeld(t *testing.T) {
	for _, lost := range []bool{false, true} {
		onEveryStore(t, func(c *cluster) {
			h := c.host("h1")
			_, _, err := h.openOne(flags{}, 0, "")
			h.must(err)
			if lost {
				h.journal = newDisk()
			}
			h.restart()
			h.ready()
			held := h.waitHeld(func(h Held) bool { return h.Kind == HeldPool || h.Kind == HeldStray })
			for held.Kind == HeldStray || held.Kind == HeldPool {
				h.must(h.FreeProvisional(c.Context(), held))
				all, err := h.Provisional(c.Context())
				h.must(err)
				if len(all) == 0 {
					break
				}
				held = all[0]
			}
			if items := slices.Concat(c.list(store.AllLeasesSpan()), c.list(store.DefaultPoolsSpan())); len(items) != 0 {
				c.Errorf("the store holds %v, want nothing", KeysOf(items))
			}
		})
	}
}

func TestProvisionalAddressesAreHeldAndFreed(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		bound := n.mustRun("web", "")
		given, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		deleted := n.mustRun("db", "")
		n.h.must(n.h.Unbind(c.Context(), deleted.endpoint)) // and no release comes
		n.h.restart()
		all, err := n.h.Provisional(c.Context())
		n.h.must(err)
		if len(all) != 2 || all[0].Address != given.Addr() || all[1].Endpoint != deleted.endpoint {
			c.Fatalf("held %+v, want %s and that of endpoint %s", all, given, deleted.endpoint)
		}
		ct := &container{n: n, endpoint: "late", pools: n.ids, addrs: []netip.Prefix{given}}
		n.h.must(ct.bind("late"))
		for _, held := range all {
			n.h.must(n.h.FreeProvisional(c.Context(), held)) // the first was bound meanwhile
		}
		later, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0], Address: all[1].Address.String()})
		n.h.must(err)
		n.h.must(n.h.FreeProvisional(c.Context(), all[1])) // of an earlier life
		n.h.must((&container{n: n, endpoint: "later", pools: n.ids, addrs: []netip.Prefix{later}}).bind("later"))
		n.h.must(n.h.Free(c.Context(), "later"))
		if got := n.h.Bound(); len(got) != 2 || len(got["late"]) != 1 || len(got[bound.endpoint]) != 1 {
			c.Errorf("bound %v, want late and %s", got, bound.endpoint)
		}
		n.h.must(n.h.Free(c.Context(), "late"))
		n.h.must(n.h.Free(c.Context(), "late"))
		if got := n.h.Bound(); len(got) != 1 {
			c.Errorf("bound %v, want %s alone", got, bound.endpoint)
		}
	})
}

// TestEndpointWithoutAddresses is one of Docker's own IPAM.
func TestEndpointWithoutAddresses(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := &lan{h: c.host("h1"), id: "local"}
		ct := n.mustRun("web", "")
		ct.stop()
		if items := c.list(store.EndpointsSpan()); len(items) != 0 {
			c.Errorf("the store holds %v, want nothing", KeysOf(items))
		}
		n.h.down()
		if _, err := n.run("db", ""); !errors.Is(err, store.ErrUnavailable) {
			c.Errorf("error %v, want %v", err, store.ErrUnavailable)
		}
		n.h.up()
	})
}

func TestUnknownReleasesSucceed(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		h := c.host("h1")
		id := pool.ID{Space: pool.LocalSpace, Segment: "default", Subnet: mustPrefix("10.0.0.0/24"), Nonce: someNonce}.String()
		h.must(h.ReleaseAddress(c.Context(), id, "10.0.0.9"))
		h.must(h.ReleasePool(c.Context(), id))
		h.must(h.Unbind(c.Context(), "nobody"))
		h.must(h.Free(c.Context(), "nobody"))
		h.must(h.Detach("nothing"))
	})
}

// TestAFailedCreateLeavesNothing: CreateNetwork joined the pools before it
// refused, and Docker gives them back then. Run is not there to help.
func TestAFailedCreateLeavesNothing(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24", "")
		n.h.stop()
		n.h.must(n.h.Detach(n.id))
		for i, p := range n.pools {
			n.h.must(n.h.ReleaseAddress(c.Context(), n.ids[i], p.Gateway.String()))
			n.h.must(n.h.ReleasePool(c.Context(), n.ids[i]))
		}
		if items := slices.Concat(c.list(store.AllLeasesSpan()), c.list(store.DefaultPoolsSpan())); len(items) != 0 {
			c.Errorf("the store holds %v, want nothing", KeysOf(items))
		}
	})
}
