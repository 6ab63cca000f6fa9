package docker_test

import (
	"net/netip"
	"testing"

	"gvlan/tests/lab"
)

// TestMixedEngines: 20.10 and 28.5 in one cluster, on an etcd with TLS.
func TestMixedEngines(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{tls: true, hosts: []lab.HostOptions{{Release: lab.Docker20}, {Release: lab.Docker28}}})
	c.scenario("a network of each", networkOfEach)
	c.scenario("addresses move between engines", addressesMove)
	c.scenario("removal", removedAnywhere)
	c.scenario("in use elsewhere", usedElsewhere)
	c.scenario("etcd stopped and started", etcdStopped)
	c.scenario("IPv6 only needs Docker 28", v6OnlyOn28)
}

// networkOfEach: networks made by either engine are the same on both.
func networkOfEach(c *cluster) {
	for i, maker := range c.Hosts {
		name := []string{"by20", "by28"}[i]
		subnet := []string{"10.140.0.0/24", "10.141.0.0/24"}[i]
		subnet6 := []string{"fd40::/64", "fd41::/64"}[i]
		c.network(maker, name, "--subnet", subnet, "--aux-address", "nas="+netip.MustParsePrefix(subnet).Addr().Next().Next().String(),
			"--ipv6", "--subnet", subnet6, "-o", "parent=eth1")
		gateway4 := netip.MustParsePrefix(subnet).Addr().Next().String()
		gateway6 := netip.MustParsePrefix(subnet6).Addr().Next().String()
		old, now := c.run(c.Hosts[0], name, name), c.run(c.Hosts[1], name, name)
		if old == now {
			c.t.Errorf("both containers on %s have %s", name, old)
		}
		c.reaches(c.Hosts[0], name, now)
		c.reaches(c.Hosts[1], name, old)
		for _, h := range c.Hosts {
			c.wantRoutes(h, name, gateway4, gateway6)
			c.oneOwner(c.address(h, name, name), h)
		}
	}
}

// addressesMove: what one engine gives back is free for the other at once.
func addressesMove(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.142.0.0/24", "-o", "parent=eth1")
	for range 5 {
		for _, h := range c.Hosts {
			c.run(h, "lan1", "web", "--ip", "10.142.0.50")
			c.oneOwner(netip.MustParseAddr("10.142.0.50"), h)
			h.MustDocker(c.t, "rm", "-f", "web")
		}
	}
}

// v6OnlyOn28: engines before 28 cannot be told to leave IPv4 out; the host
// says so and makes no network that would be another.
func v6OnlyOn28(c *cluster) {
	h20, h28 := c.Hosts[0], c.Hosts[1]
	h28.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
		"--ipv4=false", "--ipv6", "--subnet", "fd43::/64", "-o", "parent=eth1", "six")
	c.waitNetwork(h28, "six")
	c.run(h28, "six", "web")
	c.wantRoutes(h28, "web", "", "fd43::1")
	c.logged(0, "six", "needs Docker 28")
	c.stillThere(h20)
}
