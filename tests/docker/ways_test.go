package docker_test

import (
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestWaysOut: routes of a network, and which of two networks has the default
// route, on both engines in one cluster.
func TestWaysOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: []lab.HostOptions{{Release: lab.Docker20}, {Release: lab.Docker28}}})
	c.scenario("routes by a router", routesByRouter)
	c.scenario("bad routes", badRoutes)
	c.scenario("the default route of two networks", defaultOfTwo)
}

// routesOf are a container's routes by a router or to a subnet, the kernel's own
// left out, "TO via ROUTER" each.
func (c *cluster) routesOf(h *lab.Host, container string) []string {
	c.t.Helper()
	var all []string
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(h.MustDocker(c.t, "exec", container, "ip", family, "route")) {
			if words := strings.Fields(line); len(words) > 2 && words[1] == "via" {
				all = append(all, strings.Join(words[:3], " "))
			}
		}
	}
	slices.Sort(all)
	return all
}

func (c *cluster) wantWays(h *lab.Host, container string, want ...string) {
	c.t.Helper()
	if got := c.routesOf(h, container); !slices.Equal(got, want) {
		c.t.Errorf("%s on %s has the routes %q, want %q", container, h.Name, got, want)
	}
}

// routesByRouter: the routes of a network without a gateway are in every
// container of it from its first moment, through restarts of container, agent
// and engine; a second network with the same route leaves it to the first.
func routesByRouter(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.150.0.0/24", "--subnet", "10.151.0.0/24", "--ipv6", "--subnet", "fd50::/64", "-o", "parent=eth1", "-o", "gateway=none",
		"-o", "routes=10.0.0.0/9 via 10.150.0.250, 172.16.0.9 via 10.150.0.251, fd00:1::/32 via fd50::fa, 10.128.0.0/9 via 10.151.0.250")
	c.network(c.Hosts[1], "lan2", "--subnet", "10.152.0.0/24", "-o", "parent=eth1", "-o", "routes=10.0.0.0/9 via 10.152.0.250,10.160.0.0/16 via 10.152.0.250")
	want := []string{"10.0.0.0/9 via 10.150.0.250", "172.16.0.9 via 10.150.0.251", "fd00:1::/32 via fd50::fa"}
	for i, h := range c.Hosts {
		c.setLiveRestore(h, true)
		// What the first process sees is what there is from its start.
		first := h.MustDocker(c.t, "run", "--rm", "--network", "lan1", "busybox", "sh", "-c", "ip -4 route; ip -6 route")
		for _, route := range want {
			if !strings.Contains(first, route+" ") {
				c.t.Errorf("the first process on %s lacks %s:\n%s", h.Name, route, first)
			}
		}
		c.run(h, "lan1", "web", "--restart", "always")
		c.wantWays(h, "web", want...)
		h.MustDocker(c.t, "restart", "-t", "0", "web")
		c.wantWays(h, "web", want...)
		h.MustDocker(c.t, "network", "connect", "lan2", "web")
		c.wantWays(h, "web", slices.Sorted(slices.Values(append([]string{"10.160.0.0/16 via 10.152.0.250", "default via 10.152.0.1"}, want...)))...)
		hint := []string{"network lan2: the route 10.0.0.0/9 via 10.152.0.250 has no effect: network lan1 of the same container leads there", "(web)"}
		c.logged(i, hint...)
		h.MustDocker(c.t, "network", "disconnect", "lan2", "web")
		c.wantWays(h, "web", want...)
		if err := h.Engine.Restart(c.t.Context()); err != nil { // live-restore
			c.t.Fatal(err)
		}
		c.wantWays(h, "web", want...)
		c.setLiveRestore(h, false)
	}
}

// badRoutes: each refusal names the option, and no network is left.
func badRoutes(c *cluster) {
	for _, h := range c.Hosts {
		create := []string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.153.0.0/24", "-o", "parent=eth1"}
		for routes, words := range map[string]string{
			"10.0.0.0/8 via 10.154.0.2": `-o routes=10.0.0.0/8 via 10.154.0.2: 10.154.0.2 is in no subnet of the network: give a router of 10.153.0.0/24`,
			"0.0.0.0/0 via 10.153.0.2":  "is the default route, which --gateway gives",
			"10.0.0.0/8":                "say which router of the LAN it goes by",
		} {
			c.refused(h, words, append(slices.Clone(create), "-o", "routes="+routes, "bad")...)
		}
	}
}

// defaultOfTwo: from Docker 28 gw-priority chooses; before, the first network by
// name.
func defaultOfTwo(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.155.0.0/24", "--ipv6", "--subnet", "fd55::/64", "-o", "parent=eth1")
	c.network(c.Hosts[0], "lan2", "--subnet", "10.156.0.0/24", "--ipv6", "--subnet", "fd56::/64", "-o", "parent=eth1")
	old, now := c.Hosts[0], c.Hosts[1]
	old.MustDocker(c.t, "create", "--stop-signal", "KILL", "--network", "lan2", "--name", "web", "busybox", "sleep", "100000")
	old.MustDocker(c.t, "network", "connect", "lan1", "web")
	old.MustDocker(c.t, "start", "web")
	c.wantWays(old, "web", "default via 10.155.0.1", "default via fd55::1")
	for name, want := range map[string][]string{
		"lan1": {"default via 10.155.0.1", "default via fd55::1"},
		"lan2": {"default via 10.156.0.1", "default via fd56::1"},
	} {
		other := map[string]string{"lan1": "lan2", "lan2": "lan1"}[name]
		now.MustDocker(c.t, "run", "-d", "--stop-signal", "KILL", "--network", "name="+name+",gw-priority=1", "--network", other, "--name", name, "busybox", "sleep", "100000")
		c.wantWays(now, name, want...)
		now.MustDocker(c.t, "restart", "-t", "0", name)
		c.wantWays(now, name, want...)
	}
	now.MustDocker(c.t, "network", "disconnect", "lan2", "lan2")
	c.wantWays(now, "lan2", "default via 10.155.0.1", "default via fd55::1")
	now.MustDocker(c.t, "network", "connect", "--gw-priority", "5", "lan2", "lan2")
	c.wantWays(now, "lan2", "default via 10.156.0.1", "default via fd56::1")
}
