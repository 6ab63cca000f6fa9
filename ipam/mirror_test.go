package ipam

import (
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// TestNewsOfAnAddressGivenBackSince: a record of this node's own, heard of
// while its call was under way and looked at after the address was given back,
// is compared with nothing: comparing would hold the place of a free address.
// One that nobody here gave back is.
func TestNewsOfAnAddressGivenBackSince(t *testing.T) {
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.h.ready()
		m := n.h.Mirrors.Of(pool.DefaultSegment, mustPrefix("10.0.0.0/24"))
		got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		news, err := mem.Get(c.Context(), store.LeaseKey(pool.DefaultSegment, got.Addr()))
		n.h.must(err)
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
		n.h.stop() // compares what it was told of, and then leaves what comes
		n.h.Suspect.Drain()

		n.h.compareNews(m, news)
		if found := n.h.Suspect.Drain(); len(found) != 0 {
			c.Errorf("%v are compared, which this node gave back", found)
		}
		m.Learn(got.Addr(), mirror.Taken, news.Modified+100)
		n.h.compareNews(m, news)
		if want := []pool.Place{pool.At(pool.DefaultSegment, got.Addr())}; !slices.Equal(n.h.Suspect.Drain(), want) {
			c.Errorf("%v is not compared: it carries this node's name, and its journal does not know it", want)
		}
	})
}

// TestContentionKeepsANodeApartForAWhile: a node that met another takes its next
// addresses away from the lowest.
func TestContentionKeepsANodeApartForAWhile(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/16")
		n.h.ready()
		n.h.Mirrors.Of("default", n.pools[0].Subnet).Meet()
		var low int
		for range mirror.ApartFor + 2 {
			if ct := n.mustRun("", ""); ct.addrs[0].Addr().As4()[2] == 0 && ct.addrs[0].Addr().As4()[3] < 16 {
				low++
			}
		}
		if low < 2 || low > 4 { // drawn there: once in 4096
			t.Errorf("%d addresses were of the lowest, want the last 2 of %d", low, mirror.ApartFor+2)
		}
	})
}
