package ipam

import "testing"

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
