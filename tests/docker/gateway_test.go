package docker_test

import (
	"fmt"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestGateways: one rule on every engine.
func TestGateways(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("none given", firstUsable)
		c.scenario("given", gatewayGiven)
		c.scenario("none wanted", gatewayNone)
		c.scenario("a subnet of one address", oneAddress)
		c.scenario("two networks on one subnet", twoOnOneSubnet)
		c.scenario("host bits", hostBits)
		c.scenario("v6 subnet without --ipv6", v6Dropped)
		c.scenario("link-local subnet", linkLocal)
		c.scenario("keys of Docker's own", dockerKeys)
		c.scenario("inside and inspect agree", insideAndInspect)
	})
}

// wantRoutes compares the default routes inside a container, and that eth0
// is its only interface.
func (c *cluster) wantRoutes(h *lab.Host, name, gateway4, gateway6 string) {
	c.t.Helper()
	for _, family := range []struct{ flag, gateway string }{{"-4", gateway4}, {"-6", gateway6}} {
		want := ""
		if family.gateway != "" {
			want = "default via " + family.gateway + " dev eth0"
		}
		var got []string
		for line := range strings.Lines(h.MustDocker(c.t, "exec", name, "ip", family.flag, "route")) {
			if strings.HasPrefix(line, "default") {
				got = append(got, strings.Join(strings.Fields(line)[:5], " "))
			}
		}
		if strings.Join(got, "\n") != want {
			c.t.Errorf("%s on %s has the default routes %q (%s), want %q", name, h.Name, got, family.flag, want)
		}
	}
	c.wantInterfaces(h, name, "eth0")
}

// wantInterfaces compares the interfaces inside a container, lo aside.
func (c *cluster) wantInterfaces(h *lab.Host, name string, want ...string) {
	c.t.Helper()
	var got []string
	for _, link := range strings.Fields(h.MustDocker(c.t, "exec", name, "ls", "/sys/class/net")) {
		if link != "lo" {
			got = append(got, link)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		c.t.Errorf("%s on %s has interfaces %v, want %v", name, h.Name, got, want)
	}
}

func firstUsable(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.100.0.0/24", "--ipv6", "--subnet", "fd10::/64", "-o", "parent=eth1")
	for _, h := range c.Hosts {
		c.run(h, "lan1", "web")
		c.wantRoutes(h, "web", "10.100.0.1", "fd10::1")
	}
}

func gatewayGiven(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.101.0.0/24", "--gateway", "10.101.0.254", "--ipv6", "--subnet", "fd11::/64", "--gateway", "fd11::fe", "-o", "parent=eth1")
	for _, h := range c.Hosts {
		if got := c.run(h, "lan1", "web"); got.String() > "10.101.0.2" {
			c.t.Errorf("%s got %s, want one of the first two", h.Name, got)
		}
		c.wantRoutes(h, "web", "10.101.0.254", "fd11::fe")
	}
}

// oneAddress: the network's one address is its container's, not a gateway.
func oneAddress(c *cluster) {
	h := c.Hosts[0]
	c.network(h, "lone", "--subnet", "10.117.0.9/32", "-o", "parent=eth1")
	c.run(h, "lone", "web", "--ip", "10.117.0.9")
	c.wantRoutes(h, "web", "", "")
	c.audit()
	c.refused(c.Hosts[1], "address 10.117.0.9 is in use by container web on node h1", "run", "--rm", "--network", "lone", "--ip", "10.117.0.9", "busybox", "true")
	h.MustDocker(c.t, "rm", "-f", "web")
	if got := c.run(c.Hosts[1], "lone", "any"); got.String() != "10.117.0.9" {
		c.t.Errorf("any has %s, want the one address there is", got)
	}
}

func gatewayNone(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.102.0.0/24", "--ipv6", "--subnet", "fd12::/64", "-o", "parent=eth1", "-o", "gateway=none")
	for _, h := range c.Hosts {
		c.run(h, "lan1", "web")
		c.wantRoutes(h, "web", "", "")
	}
}

// twoOnOneSubnet: the gateway belongs to the network, not to the subnet, and
// addresses are still given once.
func twoOnOneSubnet(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.103.0.0/24", "--gateway", "10.103.0.1", "-o", "parent=eth1")
	c.network(h2, "lan2", "--subnet", "10.103.0.0/24", "--gateway", "10.103.0.254", "-o", "parent=eth1")
	one, two := c.run(h1, "lan1", "one"), c.run(h2, "lan2", "two")
	if one == two {
		c.t.Errorf("two networks of one subnet both gave %s", one)
	}
	c.wantRoutes(h1, "one", "10.103.0.1", "")
	c.wantRoutes(h2, "two", "10.103.0.254", "")
	c.reaches(h1, "one", two)
	c.refused(h1, "address 10.103.0.254 is the gateway of network lan2",
		"run", "--rm", "--network", "lan1", "--ip", "10.103.0.254", "busybox", "true")

	c.network(h1, "lan3", "--subnet", "10.104.0.0/24", "-o", "parent=eth1")
	c.network(h2, "lan4", "--subnet", "10.104.0.0/24", "-o", "parent=eth1")
	c.run(h1, "lan3", "three")
	c.run(h1, "lan4", "four")
	c.wantRoutes(h1, "three", "10.104.0.1", "")
	c.wantRoutes(h1, "four", "10.104.0.1", "")
	// The first to go takes nothing from the other.
	h1.MustDocker(c.t, "rm", "-f", "three")
	h1.MustDocker(c.t, "network", "rm", "lan3")
	c.waitNoNetwork(h2, "lan3")
	c.refused(h1, "address 10.104.0.1 is the gateway of network lan4",
		"run", "--rm", "--network", "lan4", "--ip", "10.104.0.1", "busybox", "true")
}

// hostBits: 20.10 sends them as they were typed, 28.5 refuses them itself.
func hostBits(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	create := []string{"--subnet", "10.105.0.7/24", "-o", "parent=eth1"}
	if h1.Engine.Release != lab.Docker20 {
		c.refused(h1, "invalid network config:", append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "lan1"}, create...)...)
		return
	}
	c.network(h1, "lan1", create...)
	if got := c.run(h2, "lan1", "web"); got.String() != "10.105.0.2" {
		c.t.Errorf("the first container got %s, want 10.105.0.2", got)
	}
	if subnet := c.subnets("lan1"); subnet != "10.105.0.0/24" {
		c.t.Errorf("the definition has %s, want it masked", subnet)
	}
}

// v6Dropped: Docker ignores the subnet without a word.
func v6Dropped(c *cluster) {
	h1 := c.Hosts[0]
	c.network(h1, "lan1", "--subnet", "10.106.0.0/24", "--subnet", "fd16::/64", "-o", "parent=eth1")
	c.logged(0, "an IPv6 subnet needs --ipv6", "network=lan1", "subnet=fd16::/64")
	c.run(h1, "lan1", "web")
	c.wantRoutes(h1, "web", "10.106.0.1", "")
	if subnet := c.subnets("lan1"); subnet != "10.106.0.0/24" {
		c.t.Errorf("the definition has %s, want what Docker used", subnet)
	}
}

func linkLocal(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.107.0.0/24", "--ipv6", "--subnet", "fe90::/64", "-o", "parent=eth1")
	c.run(h1, "lan1", "web", "--ip6", "fe90::22")
	c.run(h2, "lan1", "api")
	h2.MustDocker(c.t, "exec", "api", "ping", "-6", "-c", "1", "-w", "10", "fe90::22")
	// 20.10 does not release such an address, and yet it is free.
	h1.MustDocker(c.t, "rm", "-f", "web")
	c.run(h2, "lan1", "web", "--ip6", "fe90::22")
}

// dockerKeys: what Docker's own options ask for is done where it can be, and
// where it cannot the agent says so; what is plain draws no warning.
func dockerKeys(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.108.0.0/24", "-o", "parent=eth1", "-o", "com.docker.network.driver.mtu=1400",
		"-o", "com.docker.network.container_iface_prefix=port", "--ipam-opt", "com.docker.network.ipam.serial=true")
	c.run(h2, "lan1", "plain")
	c.wantInterfaces(h2, "plain", "port0")
	if mtu := h2.MustDocker(c.t, "exec", "plain", "cat", "/sys/class/net/port0/mtu"); mtu != "1400" {
		c.t.Errorf("a container on a network with Docker's MTU of 1400 has %s", mtu)
	}
	c.refused(h1, "contradict each other", "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.110.0.0/24",
		"-o", "parent=eth1", "-o", "mtu=1500", "-o", "com.docker.network.driver.mtu=1400", "lan2")

	opts := "name=lan1,driver-opt=com.docker.network.endpoint.ifname=lan0,driver-opt=vlan=7"
	h2.MustDocker(c.t, append([]string{"run", "-d", "--stop-signal", "KILL", "--network", opts, "--name", "web", "-p", "8080:80"}, "busybox", "sleep", "100000")...)
	for _, want := range [][]string{
		{"network lan1: published ports (-p) have no effect", "(web)"},
		{"network lan1: driver-opt vlan has no effect", "(web)"},
		{"network lan1: a container's interface name", "from 29.8 on, and this engine is 2", "(web)"},
	} {
		c.logged(1, want...)
		if out := c.gvlan(h2, "status"); !hasAll(out, want) {
			c.t.Errorf("status says\n%s\nwant %q in it", out, want)
		}
	}
	c.wantInterfaces(h2, "web", "port0") // these engines take a prefix only
	c.refused(h1, "is no name of an interface", "run", "--rm", "--network", "name=lan1,driver-opt=com.docker.network.endpoint.ifname=a/b", "busybox", "true")
	h2.MustDocker(c.t, "rm", "-f", "web")
	eventually(c.t, "no more warnings than a plain container draws, none", func() error {
		if out := c.gvlan(h2, "status"); strings.Contains(out, "no effect") {
			return fmt.Errorf("status says\n%s", out)
		}
		return nil
	})
}

// insideAndInspect: what `docker inspect` says is what the container has.
func insideAndInspect(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.109.0.0/24", "--ipv6", "--subnet", "fd19::/64", "-o", "parent=eth1")
	for _, h := range c.Hosts {
		c.run(h, "lan1", "web")
		said := c.inspect(h, "lan1", "web")
		if said.Gateway != "10.109.0.1" || said.IPv6Gateway != "fd19::1" || said.IPPrefixLen != 24 || said.GlobalIPv6PrefixLen != 64 {
			c.t.Errorf("inspect on %s says %+v, want the gateways 10.109.0.1 and fd19::1", h.Name, said)
		}
		has := h.MustDocker(c.t, "exec", "web", "ip", "addr", "show", "eth0")
		for _, want := range []string{"inet " + said.IPAddress + "/24 ", "inet6 " + said.GlobalIPv6Address + "/64 ", "link/ether " + said.MacAddress + " "} {
			if !strings.Contains(has, want) {
				c.t.Errorf("web on %s has\n%s\nwant %q, as inspect says", h.Name, has, want)
			}
		}
	}
	h := c.Hosts[0]
	h.MustDocker(c.t, append([]string{"run", "-d", "--mac-address", "02:11:22:33:44:55"}, sleeper("lan1", "own")[2:]...)...)
	if got := h.MustDocker(c.t, "exec", "own", "cat", "/sys/class/net/eth0/address"); got != "02:11:22:33:44:55" {
		c.t.Errorf("a container with --mac-address has %s", got)
	}
}
