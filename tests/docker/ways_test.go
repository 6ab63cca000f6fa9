package docker_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestWaysOut: routes of a network, and which of two networks has the default
// route, on both engines in one cluster.
func TestWaysOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: []lab.HostOptions{{Release: lab.Docker20, LiveRestore: true}, {Release: lab.Docker28, LiveRestore: true}}})
	c.scenario("routes by a router", routesByRouter)
	c.scenario("bad options", badWays)
	c.scenario("the default route of two networks", defaultOfTwo)
	c.scenario("router advertisements", advertised)
	c.scenario("MAC addresses with a prefix", prefixedMACs)
	c.scenario("status tells what is wrong", statusTells)
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
		if err := h.Engine.Restart(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		c.wantWays(h, "web", want...)
	}
}

// badWays: each refusal names the option, and no network is left.
func badWays(c *cluster) {
	for _, h := range c.Hosts {
		create := []string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.153.0.0/24", "-o", "parent=eth1"}
		for routes, words := range map[string]string{
			"10.0.0.0/8 via 10.154.0.2": `-o routes=10.0.0.0/8 via 10.154.0.2: 10.154.0.2 is in no subnet of the network: give a router of 10.153.0.0/24`,
			"0.0.0.0/0 via 10.153.0.2":  "is the default route, which --gateway gives",
			"10.0.0.0/8":                "say which router of the LAN it goes by",
		} {
			c.refused(h, words, append(slices.Clone(create), "-o", "routes="+routes, "bad")...)
		}
		c.refused(h, "-o ipv6-ra=on: the network has no IPv6", append(slices.Clone(create), "-o", "ipv6-ra=on", "bad")...)
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

// advertised: what containers make of a router on the LAN, by the network's
// option; off is healed by an agent that was away.
func advertised(c *cluster) {
	const prefix = "fd77::/64"
	subnets := map[string]string{"kernel": "57", "on": "58", "off": "59"}
	for name, n := range subnets {
		flags := []string{"--subnet", "10.1" + n + ".0.0/24", "--ipv6", "--subnet", "fd" + n + "::/64", "-o", "parent=eth1"}
		if name != "kernel" {
			flags = append(flags, "-o", "ipv6-ra="+name)
		}
		c.network(c.Hosts[0], name, flags...)
	}
	for _, h := range c.Hosts {
		for name := range subnets {
			c.run(h, name, name, "--cap-add", "NET_ADMIN", "--sysctl", "net.ipv6.conf.all.forwarding="+map[bool]string{true: "1", false: "0"}[name == "on"])
		}
		c.wantSettings(h, "on", "2", "1")
		c.wantSettings(h, "off", "0", "0")
		c.wantSettings(h, "kernel", "1", "1")
	}
	c.advertise(prefix, func() error {
		for _, h := range c.Hosts {
			for _, name := range []string{"kernel", "on"} {
				if got := c.global6(h, name); len(got) != 2 {
					return fmt.Errorf("%s on %s has %v, want its own address and a learnt one", name, h.Name, got)
				}
			}
		}
		return nil
	})
	for _, h := range c.Hosts {
		c.wantOnlyLeased(h, "off")
		for _, cidr := range c.global6(h, "kernel") {
			address, _, _ := strings.Cut(cidr, "/")
			if out := c.gvlan(h, "whois", address); strings.HasPrefix(address, "fd77:") && !strings.Contains(out, address+", by container kernel on "+h.Name+" (SLAAC)") {
				c.t.Errorf("gvlan whois %s says\n%s\nwant it to name container kernel", address, out)
			}
		}
	}
	// An agent that was away when a container learnt an address.
	for i, h := range c.Hosts {
		if err := c.agents[i].Kill(); err != nil {
			c.t.Fatal(err)
		}
		c.setting(h, "off", "accept_ra", "1")
		c.setting(h, "off", "autoconf", "1")
	}
	c.advertise(prefix, func() error {
		for _, h := range c.Hosts {
			if got := c.global6(h, "off"); len(got) != 2 {
				return fmt.Errorf("off on %s has %v, want its own address and a learnt one", h.Name, got)
			}
		}
		return nil
	})
	for i, h := range c.Hosts {
		c.startAgain(i)
		eventually(c.t, "the agent of "+h.Name+" to heal it", func() error {
			if got := c.global6(h, "off"); len(got) != 1 {
				return fmt.Errorf("off has %v", got)
			}
			return nil
		})
		c.wantSettings(h, "off", "0", "0")
		c.wantOnlyLeased(h, "off")
	}
}

// advertise has the peer be a router until what it says is so.
func (c *cluster) advertise(prefix string, until func() error) {
	c.t.Helper()
	eventually(c.t, "a router to be heard", func() error {
		if err := c.LAN.Advertise(c.Peer.Machine, netip.MustParsePrefix(prefix)); err != nil {
			return err
		}
		return until()
	})
}

// global6 are a container's IPv6 addresses that are no link's own.
func (c *cluster) global6(h *lab.Host, container string) (all []string) {
	c.t.Helper()
	for line := range strings.Lines(h.MustDocker(c.t, "exec", container, "ip", "-6", "addr", "show", "dev", "eth0")) {
		if words := strings.Fields(line); len(words) > 3 && words[0] == "inet6" && words[3] == "global" {
			all = append(all, words[1])
		}
	}
	return all
}

// wantOnlyLeased: no address and no route but what gvlan gave.
func (c *cluster) wantOnlyLeased(h *lab.Host, container string) {
	c.t.Helper()
	if got := c.global6(h, container); len(got) != 1 {
		c.t.Errorf("%s on %s has %v, want its leased address only", container, h.Name, got)
	}
	if routes := h.MustDocker(c.t, "exec", container, "ip", "-6", "route"); strings.Contains(routes, "via fe80:") {
		c.t.Errorf("%s on %s has routes that a router told of:\n%s", container, h.Name, routes)
	}
}

func (c *cluster) wantSettings(h *lab.Host, container, acceptRA, autoconf string) {
	c.t.Helper()
	eventually(c.t, "settings of "+container+" on "+h.Name, func() error {
		got := strings.Fields(h.MustDocker(c.t, "exec", container, "sh", "-c", "cd /proc/sys/net/ipv6/conf/eth0; cat accept_ra autoconf"))
		if !slices.Equal(got, []string{acceptRA, autoconf}) {
			return fmt.Errorf("accept_ra and autoconf are %v, want %s and %s", got, acceptRA, autoconf)
		}
		return nil
	})
}

// setting changes a container's interface from outside: inside its settings are
// read-only.
func (c *cluster) setting(h *lab.Host, container, key, value string) {
	c.t.Helper()
	pid := h.MustDocker(c.t, "inspect", "-f", "{{.State.Pid}}", container)
	h.MustExec(c.t, "nsenter", "-t", pid, "-n", "sh", "-c", "echo "+value+" > /proc/sys/net/ipv6/conf/eth0/"+key)
}

// prefixedMACs: a network's prefix is in the MACs that follow from addresses, on
// each host alike; --mac-address wins, through a restart, and is one of the
// cluster as ever.
func prefixedMACs(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.161.0.0/24", "-o", "parent=eth1", "-o", "mac-prefix=06:42")
	mac := func(h *lab.Host, name string) string {
		return h.MustDocker(c.t, "exec", name, "cat", "/sys/class/net/eth0/address")
	}
	for i, h := range c.Hosts {
		ip := fmt.Sprintf("10.161.0.%d", 20+i)
		own := fmt.Sprintf("02:11:22:33:44:%02d", i)
		c.run(h, "lan1", "web", "--ip", ip)
		c.run(h, "lan1", "own", "--mac-address", own)
		for range 2 {
			if got, want := mac(h, "web"), fmt.Sprintf("06:42:0a:a1:00:%02x", 20+i); got != want {
				c.t.Errorf("web on %s has %s, want %s", h.Name, got, want)
			}
			if said := c.inspect(h, "lan1", "web").MacAddress; said != mac(h, "web") {
				c.t.Errorf("inspect on %s says %s, web has %s", h.Name, said, mac(h, "web"))
			}
			if got := mac(h, "own"); got != own {
				c.t.Errorf("own on %s has %s, want its --mac-address %s", h.Name, got, own)
			}
			h.MustDocker(c.t, "restart", "-t", "0", "web", "own")
		}
	}
	c.refused(c.Hosts[1], "mac address is taken: 06:42:0a:a1:00:14 is", "run", "--rm", "--network", "lan1", "--mac-address", "06:42:0a:a1:00:14", "busybox", "true")
	c.refused(c.Hosts[0], `-o mac-prefix="00:50:56": that belongs to a maker of network cards`, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.162.0.0/24",
		"-o", "parent=eth1", "-o", "mac-prefix=00:50:56", "bad")
}

// tells waits until `gvlan status` on a host has a problem with these words, or
// has it no more.
func (c *cluster) tells(h *lab.Host, says bool, words ...string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("status of %s to say %q: %t", h.Name, words, says), func() error {
		out, _ := h.Exec(c.t.Context(), c.binary, "status") // its exit status is 3 where something is wrong
		if hasAll(out, words) != says {
			return fmt.Errorf("status says\n%s", out)
		}
		return nil
	})
}

// statusTells: a full network, a container whose first start failed, an
// interface that was removed inside a container, and an address of --dns-listen
// that cannot be had are problems of `gvlan status`, until they are over.
func statusTells(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.163.0.0/24", "--ip-range", "10.163.0.8/31", "-o", "parent=eth1")
	c.tells(c.Hosts[0], false, "is full")
	for _, h := range c.Hosts {
		c.run(h, "lan1", "on-"+h.Name, "--cap-add", "NET_ADMIN")
		h.MustDocker(c.t, "exec", "on-"+h.Name, "ip", "link", "del", "eth0")
	}
	for _, h := range c.Hosts {
		c.tells(h, true, "network lan1 is full: all its 2 IPv4 addresses are in use")
		c.refused(h, "", append([]string{"run", "--restart", "always"}, sleeper("lan1", "late")[1:]...)...)
		c.tells(h, true, "not started", "late")
		h.MustDocker(c.t, "rm", "late")
		c.tells(h, false, "not started")
	}
	for _, h := range c.Hosts {
		c.tells(h, true, "container on-"+h.Name+" has lost its interface on network lan1")
		h.MustDocker(c.t, "restart", "-t", "0", "on-"+h.Name)
		c.wantInterfaces(h, "on-"+h.Name, "eth0")
	}
	c.tells(c.Hosts[1], false, "has lost its interface")
	h := c.Hosts[0]
	h.MustDocker(c.t, "rm", "-f", "on-"+h.Name)
	c.tells(h, false, "is full")
	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	was := c.agents[0]
	c.agents[0] = c.agent(h, append(slices.Clone(c.args), "--dns-listen", "10.99.9.9:5354")...)
	c.tells(h, true, "answering names on 10.99.9.9:5354 (--dns-listen) fails, and is tried again")
	h.MustExec(c.t, "ip", "addr", "add", "10.99.9.9/32", "dev", "lo")
	c.tells(h, false, "--dns-listen")
	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.agents[0] = was
	c.startAgain(0)
}
