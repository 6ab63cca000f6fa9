package ipam

import (
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/pool"
)

// rest begins or ends the cooldown of an address, and waits until this host
// knows.
func (n *lan) rest(ip string, rests bool) {
	n.h.c.Helper()
	addr := netip.MustParseAddr(ip)
	key := store.CooldownKey(pool.DefaultSegment, addr)
	op := store.Put(key, store.Encode(store.Cooldown{Since: time.Now().Unix()}))
	if !rests {
		op = store.Delete(key)
	}
	_, err := n.h.c.far.Commit(n.h.ctx(), store.Txn{Then: []store.Op{op}})
	n.h.must(err)
	m := n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet)
	n.h.waitFor("the mirror hears of a cooldown", func() bool { return m.Rests(addr) == rests })
}

// TestRestingAddressesComeLast, the one that rests the longest first, on every
// host and after a start; and no address is refused because it rests.
func TestRestingAddressesComeLast(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.4/30"}})
		n.h.ready()
		n.rest("10.0.0.6", true)
		n.rest("10.0.0.4", true)
		n.h.restart() // its mirror is filled by a list, or by the first page of one
		for _, want := range []string{"10.0.0.5", "10.0.0.7", "10.0.0.6", "10.0.0.4"} {
			if x := n.mustRun("x", ""); x.ip() != want {
				c.Errorf("x has %s, want %s", x.ip(), want)
			}
		}
		_, err := n.run("", "")
		checkErr(c, err, "every address of 10.0.0.4/30 is taken")
	})
}

var cooling30s = flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"cooldown": "30s"}}

// resting are the addresses that a cooldown in the store has rest.
func (c *cluster) resting() (addrs []netip.Addr) {
	c.Helper()
	items, _, err := c.far.List(c.Context(), store.AllLeasesSpan())
	if err != nil {
		c.Fatal(err)
	}
	for _, it := range items {
		if _, addr, ok := store.CooldownOf(it.Key); ok {
			if rec, err := store.Decode[store.Cooldown](it); err != nil || rec.Since == 0 {
				c.Errorf("%s is %s, %v", it.Key, it.Value, err)
			}
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// What a container leaves rests in the store, for every host and across
// restarts, and refuses nobody.
func TestAddressesRestInTheStore(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(cooling30s)
		given, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], given.Addr().String()))
		if got := c.resting(); len(got) != 0 {
			c.Errorf("%v rest, which no container had", got)
		}
		a, b := n.mustRun("a", ""), n.mustRun("b", "")
		a.stop()
		b.stop()
		if got := c.resting(); len(got) != 2 || got[0].String() != a.ip() || got[1].String() != b.ip() {
			c.Errorf("%v rest, want %s and %s", got, a.ip(), b.ip())
		}
		if n.h.granted != 1 {
			c.Errorf("%d etcd leases, want one for both", n.h.granted)
		}
		n.h.later(bucket)
		n.mustRun("c", "").stop()
		if n.h.granted != 2 {
			c.Errorf("%d etcd leases, want another one after %s", n.h.granted, bucket)
		}
		n.mustRun("a", a.ip())
	})
}

func TestARestEnds(t *testing.T) {
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		n := c.host("h1").mustCreateWith(cooling30s)
		n.mustRun("a", "").stop()
		mem.Advance(30 * time.Second)
		if len(c.resting()) != 1 {
			c.Error("it ended before its time")
		}
		mem.Advance(bucket)
		if got := c.resting(); len(got) != 0 {
			c.Errorf("%v still rest", got)
		}
	})
}

// A network's override wins over the option, also to say that nothing rests.
func TestACooldownOfANetworkWins(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		n := c.host("h1").mustCreateWith(cooling30s).define("lan")
		n.def.Overrides.Cooldown = "0s"
		n.h.must(n.h.Adopt(n.id, n.def, 0))
		n.mustRun("a", "").stop()
		if got := c.resting(); len(got) != 0 {
			c.Errorf("%v rest", got)
		}
	})
}

// A release does not depend on the etcd lease that its address would rest by.
func TestReleaseWithoutARest(t *testing.T) {
	for name, grants := range map[string]func() (store.LeaseID, error){
		"none is granted": func() (store.LeaseID, error) { return 0, store.ErrUnavailable },
		"it is gone":      func() (store.LeaseID, error) { return 4711, nil },
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreateWith(cooling30s)
				n.h.mu.Lock()
				n.h.grants = grants
				n.h.mu.Unlock()
				ct := n.mustRun("a", "")
				ct.stop()
				if _, rec := c.leaseAt("default", ct.ip()); rec.State != "" {
					c.Errorf("%s is %s after its release", ct.ip(), rec.State)
				}
				if got := c.resting(); len(got) != 0 {
					c.Errorf("%v rest", got)
				}
			})
		})
	}
}
