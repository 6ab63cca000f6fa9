package docker_test

import (
	"net/netip"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestDefaultPools: without --subnet a network gets one, once for the
// cluster, the same on every host, and off the routes of its maker.
func TestDefaultPools(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("no subnet", defaultSubnet)
		c.scenario("IPv6 only", defaultSubnet6)
		c.scenario("IPv4 switched off", defaultWithoutIPv4)
	})
}

func defaultSubnet(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	// A route of the host in the place of the second one.
	h1.MustExec(c.t, "ip", "route", "replace", "172.19.4.0/24", "dev", "eth1")
	defer h1.MustExec(c.t, "ip", "route", "del", "172.19.4.0/24", "dev", "eth1")
	var subnets []netip.Prefix
	for i, h := range []*lab.Host{h1, h1, h2} {
		name := []string{"first", "second", "third"}[i]
		c.network(h, name, "-o", "parent=eth1")
		p := netip.MustParsePrefix(c.subnets(name))
		for _, other := range append(subnets, netip.MustParsePrefix("172.17.0.0/16")) {
			if p.Overlaps(other) {
				c.t.Errorf("%s got %s, which overlaps %s", name, p, other)
			}
		}
		if h == h1 && p.Contains(netip.MustParseAddr("172.19.4.0")) {
			c.t.Errorf("%s got %s, where h1 has a route", name, p)
		}
		subnets = append(subnets, p)
		c.sameAddresses(name, p)
	}
	// Docker asks again for what suits its host better, so that a wrong answer
	// shows as one that was taken in vain.
	if taken := len(c.list(store.DefaultPoolsSpan())); taken != len(subnets) {
		c.t.Errorf("%d default subnets are taken for %d networks", taken, len(subnets))
	}
	if want := netip.MustParsePrefix("172.18.0.0/16"); subnets[0] != want {
		c.t.Errorf("the first network got %s, want %s", subnets[0], want)
	}
}

func defaultSubnet6(c *cluster) {
	c.network(c.Hosts[0], "both", "--ipv6", "-o", "parent=eth1")
	c.network(c.Hosts[1], "more", "--ipv6", "-o", "parent=eth1")
	both, more := strings.Fields(c.subnets("both")), strings.Fields(c.subnets("more"))
	if len(both) != 2 || len(more) != 2 {
		c.t.Fatalf("subnets are %v and %v, want one of each family", both, more)
	}
	for i := range 2 {
		p, q := netip.MustParsePrefix(both[i]), netip.MustParsePrefix(more[i])
		if p.Overlaps(q) {
			c.t.Errorf("two networks got %s and %s", p, q)
		}
	}
	c.sameAddresses("both", netip.MustParsePrefix(both[0]))
}

// defaultWithoutIPv4: engines before 28 do not know how to ask for it.
func defaultWithoutIPv4(c *cluster) {
	h1 := c.Hosts[0]
	if h1.Engine.Release == lab.Docker20 {
		if _, err := h1.Docker(c.t.Context(), "network", "create", "--ipv4=false", "six"); err == nil {
			c.t.Error("20.10 knows --ipv4=false: play the scenario there, too")
		}
		return
	}
	c.network(h1, "six", "--ipv4=false", "--ipv6", "-o", "parent=eth1")
	p := netip.MustParsePrefix(c.subnets("six"))
	if !p.Addr().Is6() || p.Bits() != 64 {
		c.t.Errorf("the network got %s, want a /64", p)
	}
	c.sameAddresses("six", p)
}

// sameAddresses starts a container on every host: each gets an address of the
// one subnet, and they reach each other.
func (c *cluster) sameAddresses(network string, subnet netip.Prefix) {
	c.t.Helper()
	h1, h2 := c.Hosts[0], c.Hosts[1]
	a, b := c.run(h1, network, "on-"+network), c.run(h2, network, "on-"+network)
	if a == b || !subnet.Contains(a) || !subnet.Contains(b) {
		c.t.Errorf("containers on %s have %s and %s, want two of %s", network, a, b, subnet)
	}
	c.reaches(h1, "on-"+network, b)
	c.reaches(h2, "on-"+network, a)
}
