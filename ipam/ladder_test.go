package ipam

import (
	"fmt"
	"net/netip"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/pool"
)

// firstTried is the key of the first address that a transaction would take, ""
// where it takes none.
func firstTried(txn store.Txn) string {
	if !txn.Gives || len(txn.Then) != 1 || txn.Then[0].Nested == nil {
		return ""
	}
	return txn.Then[0].Nested.If[0].Key
}

// TestALostRaceIsNoOtherRoundTrip: where other nodes are about, the next
// candidate is in the same transaction.
func TestALostRaceIsNoOtherRoundTrip(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet).Meet()
		var key string
		sent := 0
		n.h.lossy.forestall(func(txn store.Txn) bool {
			key = firstTried(txn)
			sent++
			return true
		}, func() {
			stranger := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "h9", Nonce: "stranger"}
			_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(key, store.Encode(stranger))}})
			n.h.must(err)
		})
		got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		_, lost, err := store.LeaseOf(key)
		n.h.must(err)
		if got.Addr() == lost || sent != 1 {
			c.Errorf("given %s after %d transactions, and %s was somebody else's; want another one after 1", got, sent, lost)
		}
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
		_, err = c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(key)}})
		n.h.must(err)
	})
}

// TestALostReplyOfSeveralCandidates: sent again, the transaction meets what it
// took itself and takes another one as well, which is given back.
func TestALostReplyOfSeveralCandidates(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet).Meet()
		var key string
		n.h.lossy.lose(func(txn store.Txn) bool { key = firstTried(txn); return key != "" }, func() {})
		got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		if _, first, _ := store.LeaseOf(key); got.Addr() != first {
			c.Errorf("given %s, want %s, which the first try took", got, first)
		}
		dynamic := func(items []store.Item) (leases int) {
			for _, it := range items {
				if rec, err := store.Decode[store.Lease](it); err == nil && rec.State == store.Leased {
					leases++
				}
			}
			return leases
		}
		c.until("the second address is given back", store.AllLeasesSpan(), func(items []store.Item) bool { return dynamic(items) == 1 })
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
	})
}

// TestAnAddressBeforeTheMirrorIsFilled: of a subnet that has few leases it is
// the lowest one, and of one that begins with very many any free one. Neither
// waits for all of them to be read.
func TestAnAddressBeforeTheMirrorIsFilled(t *testing.T) {
	for _, leases := range []int{20, 3000} { // three pages
		t.Run(fmt.Sprint(leases), func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/16"}, ranges: []string{"10.0.128.0/17"}})
				n.h.ready()
				addr := netip.MustParseAddr("10.0.128.0")
				var all []store.Op
				for range leases {
					all = append(all, store.Put(store.LeaseKey(pool.DefaultSegment, addr), store.Encode(store.Lease{State: store.Reserved, By: []string{"import"}})))
					if addr = addr.Next(); len(all) == 100 || len(all) == leases {
						_, err := c.far.Commit(c.Context(), store.Txn{Then: all})
						n.h.must(err)
						all = nil
					}
				}
				m := n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet)
				n.h.waitFor("all are heard of", func() bool { taken, _ := m.Counts(); return taken == leases+1 })
				m.Lose()
				got := n.mustRun("", "")
				if few := leases == 20; few && got.ip() != addr.String() || got.addrs[0].Addr().Less(addr) {
					c.Errorf("given %s with the first %d taken, want %s or, where those are many, any beyond", got.ip(), leases, addr)
				}
				got.stop()
				c.wipe(store.LeasesSpan(pool.DefaultSegment, mustPrefix("10.0.128.0/17")))
			})
		})
	}
}

// TestAFullSubnetBeforeTheMirrorIsFilled: what was not read may be free, and is
// not tried one by one until it turns out to be taken.
func TestAFullSubnetBeforeTheMirrorIsFilled(t *testing.T) {
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		mem.PageSize = 50
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/16"}, ranges: []string{"10.0.128.0/22"}})
		n.h.ready()
		addr := netip.MustParseAddr("10.0.128.0")
		for range 1 << 10 {
			key := store.LeaseKey(pool.DefaultSegment, addr)
			_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(key, store.Encode(store.Lease{State: store.Reserved, By: []string{"import"}}))}})
			n.h.must(err)
			addr = addr.Next()
		}
		n.h.Mirrors.Of(pool.DefaultSegment, n.pools[0].Subnet).Lose()
		sent := 0
		n.h.lossy.lose(func(txn store.Txn) bool {
			if txn.Gives {
				sent++
			}
			return false
		}, nil)
		_, err := n.run("", "")
		checkErr(c, err, "every address of 10.0.128.0/22 is taken")
		if sent > 12 {
			c.Errorf("%d transactions before it was found to be full", sent)
		}
		c.wipe(store.LeasesSpan(pool.DefaultSegment, mustPrefix("10.0.128.0/22")))
	})
}
