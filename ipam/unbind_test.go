package ipam

import (
	"slices"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/journal"
)

// Engines like 20.10 release no link-local address: it must not wait for
// them, and where they do release it another host may have it by then.
func TestLinkLocalAddressIsFreeWithItsEndpoint(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n1, n2 := c.host("h1").mustCreate("10.0.0.0/24", "fe90::/64"), c.host("h2").mustCreate("10.0.0.0/24", "fe90::/64")
		ct := n1.mustRun("web", "fe90::22")
		n1.h.must(n1.h.Unbind(n1.h.ctx(), ct.endpoint))
		if _, rec := c.leaseAt("default", "fe90::22"); rec.State != "" {
			c.Errorf("the link-local address is %s after its endpoint was deleted, want it free", rec.State)
		}
		if _, rec := c.leaseAt("default", ct.ip()); rec.State == "" {
			c.Errorf("%s is free before Docker released it", ct.ip())
		}
		other := n2.mustRun("api", "fe90::22")
		ct.release()
		if _, rec := c.leaseAt("default", "fe90::22"); rec.Endpoint != other.endpoint {
			c.Errorf("after h1's late release fe90::22 is held by %q, want h2's endpoint", rec.Endpoint)
		}
	})
}

// A container's life is three transactions: given, bound, and the lease deleted
// with all that its endpoint has.
func TestLifeIsThreeTransactions(t *testing.T) {
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.stop() // Run is not there to help
		for _, mac := range []string{"", "02:00:00:00:00:17"} {
			before := mem.Revision()
			ct, err := n.runWith("web", mac)
			n.h.must(err)
			ct.stop()
			if took := mem.Revision() - before; took != 3 {
				c.Errorf("with MAC address %q: %d transactions, want 3", mac, took)
			}
			if left := slices.Concat(c.list(store.EndpointsSpan()), c.list(store.MACsSpan())); len(left) != 0 {
				c.Errorf("with MAC address %q the store holds %v after the release", mac, KeysOf(left))
			}
			if left := n.h.Memory.Bindings(func(journal.Binding) bool { return true }); len(left) != 0 {
				c.Errorf("with MAC address %q the journal remembers %+v", mac, left)
			}
		}
	})
}

// The first release takes the endpoint's record away, and with it its names.
func TestFirstReleaseEndsTheNames(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24", "fd00::/64")
		ct := n.mustRun("web", "")
		n.h.stop() // Run is not there to help
		n.h.must(n.h.Unbind(n.h.ctx(), ct.endpoint))
		n.h.later(-time.Minute) // its release is awaited for half a second
		n.h.attend(c.Context())
		if len(c.list(store.EndpointsSpan())) != 1 {
			c.Error("the endpoint's record is gone before an address is")
		}
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), ct.pools[0], ct.ip()))
		if left := c.list(store.EndpointsSpan()); len(left) != 0 {
			c.Errorf("the store holds %v after the first release", KeysOf(left))
		}
		ct.release()
	})
}

// Where Docker sends no release, the names end nonetheless, and the address is
// kept for who may still ask.
func TestNamesEndWithoutARelease(t *testing.T) {
	for name, later := range map[string]func(h *host){
		"the agent goes on": func(h *host) { h.later(time.Second); h.Wake() },
		"the agent dies":    func(h *host) { h.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24")
				ct, err := n.runWith("web", "02:00:00:00:00:17")
				n.h.must(err)
				n.h.must(n.h.Unbind(n.h.ctx(), ct.endpoint))
				later(n.h)
				c.until("the names end", store.EndpointsSpan(), empty)
				c.until("the MAC address is free", store.MACsSpan(), empty)
				if _, rec := c.leaseAt("default", ct.ip()); rec.State == "" {
					c.Errorf("%s is free before Docker released it", ct.ip())
				}
				ct.release()
			})
		})
	}
}
