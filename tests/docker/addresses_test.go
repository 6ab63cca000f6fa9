package docker_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

// TestSixtyAtOnce runs by itself: the kernel's network lock, for which so many
// starts wait, is one for all hosts of all labs.
func TestSixtyAtOnce(t *testing.T) {
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			sixtyAtOnce(newCluster(t, options{hosts: lab.Same(3, release)}))
		})
	}
}

// TestAddresses: three hosts share one pool.
func TestAddresses(t *testing.T) {
	onBoth(t, 3, func(c *cluster) {
		c.scenario("an address somebody has", addressHeld)
		c.scenario("gateway and aux", gatewayAndAux)
		c.scenario("free when rm returns", freeWhenGone)
	})
}

// sixtyAtOnce: distinct, reachable from everywhere, and one owner each. Then
// a duplicate is planted, which the last check must see.
func sixtyAtOnce(c *cluster) {
	c.network(c.Hosts[0], "lan60", "--subnet", "10.60.0.0/24", "-o", "parent=eth1")
	c.joinLAN("10.60.0.250/24")
	const each = 20
	var group errgroup.Group
	for _, h := range c.Hosts {
		for i := range each {
			group.Go(func() error {
				_, err := h.Docker(c.t.Context(), sleeper("lan60", fmt.Sprintf("c%d", i))...)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		c.t.Fatal(err)
	}

	on := map[netip.Addr]*lab.Host{}
	for _, h := range c.Hosts {
		for i := range each {
			addr := c.address(h, "lan60", fmt.Sprintf("c%d", i))
			if other := on[addr]; other != nil {
				c.t.Errorf("%s is on %s and on %s", addr, other.Name, h.Name)
			}
			on[addr] = h
		}
	}
	for _, h := range c.Hosts {
		c.reachesAll(h, "c0", on)
	}
	c.allOwned(on)
	c.audit()
	plantDuplicate(c, on)
}

// reachesAll pings every address from one container.
func (c *cluster) reachesAll(h *lab.Host, from string, to map[netip.Addr]*lab.Host) {
	c.t.Helper()
	var script strings.Builder
	for addr := range to {
		fmt.Fprintf(&script, "ping -q -c 1 -w 20 %s >/dev/null || echo %s\n", addr, addr)
	}
	if lost := h.MustDocker(c.t, "exec", from, "sh", "-c", script.String()); lost != "" {
		c.t.Errorf("%s on %s does not reach %s", from, h.Name, strings.Fields(lost))
	}
}

func (c *cluster) allOwned(on map[netip.Addr]*lab.Host) {
	c.t.Helper()
	var wait sync.WaitGroup
	for addr, h := range on {
		wait.Go(func() { c.oneOwner(addr, h) })
	}
	wait.Wait()
}

// plantDuplicate takes a container's address a second time, on the bare card
// of another host, behind gvlan's back.
func plantDuplicate(c *cluster, on map[netip.Addr]*lab.Host) {
	c.t.Helper()
	for addr, h := range on {
		other := c.Hosts[0]
		if other == h {
			other = c.Hosts[1]
		}
		planted := addr.String() + "/32"
		other.MustExec(c.t, "ip", "addr", "add", planted, "dev", "eth1")
		eventually(c.t, "the planted duplicate to be seen", func() error {
			if c.owned(addr, h) == nil {
				return fmt.Errorf("%s seems to have one owner", addr)
			}
			return nil
		})
		other.MustExec(c.t, "ip", "addr", "del", planted, "dev", "eth1")
		return
	}
}

// addressHeld: a second --ip of a living container's address is refused on
// its own host and on another, naming the holder, and Docker's release that
// follows takes nothing from the first. Of two addresses the second is refused: the
// first, which Docker never gives back, is free again by itself after a minute, that
// of both networks in the same one.
func addressHeld(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.61.0.0/24", "--ipv6", "--subnet", "fd61::/64", "-o", "parent=eth1")
	c.run(h1, "lan1", "web", "--ip", "10.61.0.50", "--ip6", "fd61::50")
	c.audit() // names are known
	for _, h := range []*lab.Host{h1, h2} {
		for _, flag := range []string{"--ip=10.61.0.50", "--ip6=fd61::50"} {
			c.refused(h, "is in use by container web on node h1 (network lan1)",
				"run", "--rm", "--network", "lan1", flag, "busybox", "true")
		}
	}
	c.network(h1, "lan2", "--subnet", "10.62.0.0/24", "--ipv6", "--subnet", "fd62::/64", "-o", "parent=eth1")
	c.run(h1, "lan2", "web2", "--ip", "10.62.0.50", "--ip6", "fd62::50")
	c.refused(h2, "fd62::50", "run", "--rm", "--network", "lan2", "--ip", "10.62.0.51", "--ip6", "fd62::50", "busybox", "true")
	c.audit()
	c.run(h1, "lan2", "next", "--ip", "10.62.0.51")
	c.oneOwner(netip.MustParseAddr("10.61.0.50"), h1)
	c.oneOwner(netip.MustParseAddr("fd61::50"), h1)
	// The lowest free ones are others': nobody thinks that .50 is free.
	for _, h := range c.Hosts {
		if got := c.run(h, "lan1", "more"); got == netip.MustParseAddr("10.61.0.50") {
			c.t.Errorf("%s was given a second time, to a container on %s", got, h.Name)
		}
	}
}

// gatewayAndAux: addresses the network keeps to itself are refused, also
// after somebody tried.
func gatewayAndAux(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.63.0.0/24", "--gateway", "10.63.0.254", "--aux-address", "nas=10.63.0.9", "-o", "parent=eth1")
	for range 2 {
		for _, h := range c.Hosts {
			c.refused(h, "address 10.63.0.254 is the gateway of network lan1",
				"run", "--rm", "--network", "lan1", "--ip", "10.63.0.254", "busybox", "true")
			c.refused(h, "address 10.63.0.9 is the auxiliary address nas of network lan1",
				"run", "--rm", "--network", "lan1", "--ip", "10.63.0.9", "busybox", "true")
		}
	}
}

// freeWhenGone: an address is free the moment `docker run --rm` or `docker
// rm` returns, on any host.
func freeWhenGone(c *cluster) {
	rounds := 12
	if os.Getenv("GVLAN_SOAK") != "" {
		rounds = 50
	}
	c.network(c.Hosts[0], "lan1", "--subnet", "10.64.0.0/24", "--ipv6", "--subnet", "fd64::/64", "-o", "parent=eth1")
	for i := range rounds {
		for _, h := range []*lab.Host{c.Hosts[i%3], c.Hosts[(i+1)%3]} {
			h.MustDocker(c.t, "run", "--rm", "--network", "lan1", "--ip", "10.64.0.50", "--ip6", "fd64::50", "busybox", "true")
		}
	}
	for range 3 {
		for _, h := range c.Hosts {
			c.run(h, "lan1", "web", "--ip", "10.64.0.50", "--ip6", "fd64::50")
			h.MustDocker(c.t, "rm", "-f", "web")
		}
	}
}

// joinLAN gives the peer an address on the containers' subnet.
func (c *cluster) joinLAN(cidr string) {
	c.t.Helper()
	c.Peer.MustExec(c.t, "ip", "addr", "replace", cidr, "dev", "eth1")
}
