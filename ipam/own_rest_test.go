package ipam

import (
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// TestAHostKnowsOfItsOwnRests: the address that a container of this host left
// rests for this host too, at once and once the store's word of it is in.
func TestAHostKnowsOfItsOwnRests(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(cooling30s)
		n.h.ready()
		a := n.mustRun("a", "")
		a.stop()
		m := n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet)
		if addr := a.addrs[0].Addr(); !m.Rests(addr) {
			c.Errorf("%s rests in the store, and not for the host that had it", addr)
		}
		b := n.mustRun("b", "")
		if b.ip() == a.ip() {
			c.Errorf("b has %s, which rests", b.ip())
		}
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(store.CooldownKey(pool.DefaultSegment, a.addrs[0].Addr()))}})
		n.h.must(err)
		n.h.waitFor("the rest is over", func() bool { return !m.Rests(a.addrs[0].Addr()) })
	})
}

// TestARestWhoseReplyIsLost: the transaction that is sent again finds the
// address free, and it rests nonetheless.
func TestARestWhoseReplyIsLost(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(cooling30s)
		n.h.ready()
		a := n.mustRun("a", "")
		key := store.CooldownKey(pool.DefaultSegment, a.addrs[0].Addr())
		n.h.lossy.lose(func(txn store.Txn) bool {
			return slices.ContainsFunc(txn.Then, func(op store.Op) bool { return op.Key == key })
		}, func() {})
		a.stop()
		m := n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet)
		n.h.waitFor("the mirror hears of the rest", func() bool { return m.Rests(a.addrs[0].Addr()) })
	})
}
