package ipam

import (
	"net/netip"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// rest begins or ends the cooldown of an address, and waits until this host
// knows.
func (n *lan) rest(ip string, rests bool) {
	n.h.c.Helper()
	addr := netip.MustParseAddr(ip)
	key := store.CooldownKey(pool.DefaultSegment, addr)
	op := store.Put(key, []byte("{}"))
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
