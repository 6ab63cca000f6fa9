package docker_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestAttachments: containers come, go and sit on several networks at once.
func TestAttachments(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("connect and disconnect", connectDisconnect)
		c.scenario("two networks in one container", twoNetworks)
		c.scenario("beside bridge", besideBridge)
		c.scenario("beside built-in macvlan", besideMacvlan)
		c.scenario("one MAC on two hosts", oneMAC)
		c.scenario("docker restart", dockerRestart)
		c.scenario("stop and start", stopAndStart)
		c.scenario("addresses of stopped containers", stoppedKeep)
		c.scenario("addresses of stopped containers give way", stoppedGiveWay)
	})
}

func connectDisconnect(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.110.0.0/24", "-o", "parent=eth1")
	db := c.run(h2, "lan1", "db")
	h1.MustDocker(c.t, "run", "-d", "--stop-signal", "KILL", "--network", "none", "--name", "web", "busybox", "sleep", "100000")
	h1.MustDocker(c.t, "network", "disconnect", "none", "web")
	for _, flags := range [][]string{nil, {"--ip", "10.110.0.70"}} {
		h1.MustDocker(c.t, append(append([]string{"network", "connect"}, flags...), "lan1", "web")...)
		web := c.address(h1, "lan1", "web")
		c.reaches(h1, "web", db)
		c.reaches(h2, "db", web)
		c.oneOwner(web, h1)
		c.audit()
		h1.MustDocker(c.t, "network", "disconnect", "lan1", "web")
		c.wantInterfaces(h1, "web")
		c.audit()
	}
	// The address is free for the other host now.
	c.run(h2, "lan1", "next", "--ip", "10.110.0.70")
}

func twoNetworks(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.111.0.0/24", "-o", "parent=eth1")
	c.network(h1, "lan2", "--subnet", "10.112.0.0/24", "-o", "parent=eth1")
	one, two := c.run(h2, "lan1", "one"), c.run(h2, "lan2", "two")
	c.run(h1, "lan1", "web")
	h1.MustDocker(c.t, "network", "connect", "lan2", "web")
	c.wantInterfaces(h1, "web", "eth0", "eth1")
	c.reaches(h1, "web", one)
	c.reaches(h1, "web", two)
	c.audit()
	// Both come back with the container, and one stays when the other goes.
	h1.MustDocker(c.t, "restart", "web")
	c.reaches(h1, "web", one)
	c.reaches(h1, "web", two)
	h1.MustDocker(c.t, "network", "disconnect", "lan1", "web")
	c.reaches(h1, "web", two)
	c.audit()
}

func besideBridge(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.113.0.0/24", "-o", "parent=eth1")
	db := c.run(h2, "lan1", "db")
	h1.MustDocker(c.t, "network", "create", "local")
	neighbour := c.run(h1, "local", "neighbour")
	c.run(h1, "local", "web")
	h1.MustDocker(c.t, "network", "connect", "lan1", "web")
	c.reaches(h1, "web", db)
	c.reaches(h1, "web", neighbour)
	c.wantInterfaces(h1, "web", "eth0", "eth1")
	h1.MustDocker(c.t, "network", "disconnect", "local", "web")
	c.reaches(h1, "web", db)
	c.audit()
	c.removeContainers(h1)
	h1.MustDocker(c.t, "network", "rm", "local")
}

// besideMacvlan: Docker's own macvlan and ours share a parent and the LAN.
func besideMacvlan(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.114.0.0/24", "-o", "parent=eth1")
	db := c.run(h2, "lan1", "db")
	h1.MustDocker(c.t, "network", "create", "-d", "macvlan", "--subnet", "10.114.0.0/24", "--gateway", "10.114.0.253", "-o", "parent=eth1", "theirs")
	foreign := c.run(h1, "theirs", "foreign", "--ip", "10.114.0.200")
	web := c.run(h1, "lan1", "web")
	c.reaches(h1, "web", foreign)
	c.reaches(h1, "foreign", web)
	c.reaches(h1, "foreign", db)
	c.oneOwner(foreign, h1)
	c.oneOwner(web, h1)
	c.audit()
	c.removeContainers(h1)
	h1.MustDocker(c.t, "network", "rm", "theirs")
}

// oneMAC: a MAC address that a user gave starts on one host at a time, and
// goes with its container.
func oneMAC(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.119.0.0/24", "-o", "parent=eth1")
	own := []string{"--mac-address", "02:11:22:33:44:55"}
	web := c.run(h1, "lan1", "web", own...)
	db := c.run(h2, "lan1", "db")
	for _, h := range []*lab.Host{h1, h2} {
		c.refused(h, "02:11:22:33:44:55 is in use by container web on node h1 (network lan1)",
			append([]string{"run", "--rm", "--network", "lan1"}, append(own, "busybox", "true")...)...)
	}
	c.reaches(h2, "db", web)
	h1.MustDocker(c.t, "restart", "web")
	h1.MustDocker(c.t, "stop", "web")
	c.run(h2, "lan1", "moved", own...)
	c.refused(h1, "02:11:22:33:44:55 is in use by container moved on node h2 (network lan1)", "start", "web")
	c.reaches(h2, "moved", db)
}

func dockerRestart(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.115.0.0/24", "-o", "parent=eth1")
	db := c.run(h2, "lan1", "db")
	before := c.run(h1, "lan1", "web")
	fixed := c.run(h1, "lan1", "fixed", "--ip", "10.115.0.99")
	mac := c.inspect(h1, "lan1", "web").MacAddress
	for range 3 {
		h1.MustDocker(c.t, "restart", "web", "fixed")
		if now := c.inspect(h1, "lan1", "web"); now.IPAddress != before.String() || now.MacAddress != mac {
			c.t.Errorf("after a lone restart web has %s at %s, want %s at %s as before", now.IPAddress, now.MacAddress, before, mac)
		}
		if now := c.address(h1, "lan1", "fixed"); now != fixed {
			c.t.Errorf("after a restart fixed has %s, want its --ip", now)
		}
		c.reaches(h1, "web", db)
		c.reaches(h2, "db", fixed)
	}
}

// stopAndStart: the address of a stopped container is free, as Docker says
// it is; its --ip is not given to others while anything else is free.
func stopAndStart(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.116.0.0/24", "-o", "parent=eth1")
	fixed := c.run(h1, "lan1", "fixed", "--ip", "10.116.0.2")
	c.run(h2, "lan1", "other")
	h1.MustDocker(c.t, "stop", "fixed")
	c.audit()
	h1.MustDocker(c.t, "start", "fixed")
	c.oneOwner(fixed, h1)
	if links := h1.MustDocker(c.t, "exec", "fixed", "ip", "-4", "addr", "show", "eth0"); !strings.Contains(links, "inet 10.116.0.2/24") {
		c.t.Errorf("fixed has\n%s\nwant 10.116.0.2/24", links)
	}
	h1.MustDocker(c.t, "stop", "fixed")
	c.run(h2, "lan1", "taker", "--ip", "10.116.0.2")
	c.refused(h1, "address 10.116.0.2 is in use by container taker on node h2", "start", "fixed")
	c.oneOwner(netip.MustParseAddr("10.116.0.2"), h2)
}

// stoppedKeep: what stopped containers had, or were made with, goes to others
// last on every host, and comes back to them.
func stoppedKeep(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.120.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	fixed := c.run(h1, "lan1", "fixed", "--ip", "10.120.0.3")
	h1.MustDocker(c.t, "stop", "web", "fixed")
	c.waitKept(web, fixed)
	for _, h := range []*lab.Host{h2, h1} {
		// Made and then started, so that the agent has heard of either.
		h.MustDocker(c.t, "create", "--stop-signal", "KILL", "--network", "lan1", "--name", "new", "busybox", "sleep", "100000")
		c.waitRefs(h, "new")
		h.MustDocker(c.t, "start", "new")
		if got := c.address(h, "lan1", "new"); got == web || got == fixed {
			c.t.Errorf("a new container on %s has %s, which a stopped one wants again", h.Name, got)
		}
	}
	third := c.address(h1, "lan1", "new")
	// What no look of the agent saw running has no address that is known. The look
	// that sees this one sees that one too.
	h1.MustDocker(c.t, "create", "--network", "lan1", "--name", "later", "busybox", "true")
	c.waitRefs(h1, "later")
	h1.MustDocker(c.t, "rm", "later")
	h1.MustDocker(c.t, "stop", "new")
	c.waitKept(web, fixed, third) // and knows of none that never ran
	h1.MustDocker(c.t, "start", "web", "fixed")
	for name, want := range map[string]netip.Addr{"web": web, "fixed": fixed} {
		if got := c.address(h1, "lan1", name); got != want {
			c.t.Errorf("%s has %s, want %s as before", name, got, want)
		}
	}
	c.waitKept(third)
}

// stoppedGiveWay: where nothing else is free what a stopped container had is given,
// on either host, and to nobody twice; a removed one leaves its own to whoever is next.
func stoppedGiveWay(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.121.0.0/24", "--ip-range", "10.121.0.16/29", "-o", "parent=eth1")
	c.waitNetwork(h2, "lan1")
	web, db := c.run(h1, "lan1", "web"), c.run(h1, "lan1", "db")
	hosts := map[netip.Addr]*lab.Host{c.run(h1, "lan1", "other"): h1} // of those that run
	c.waitRefs(h1, "other")                                           // a look that saw the first two run
	h1.MustDocker(c.t, "stop", "web", "db")
	c.waitKept(web, db)
	start := func(h *lab.Host, name string) netip.Addr {
		c.t.Helper()
		addr := c.run(h, "lan1", name)
		if on := hosts[addr]; on != nil {
			c.t.Errorf("%s is given %s on %s, which a container on %s has", name, addr, h.Name, on.Name)
		}
		hosts[addr] = h
		return addr
	}
	for i := range 5 { // of 8
		if addr := start(h2, fmt.Sprintf("c%d", i)); addr == web || addr == db {
			c.t.Errorf("c%d is given %s, which a stopped container wants again, and others are free", i, addr)
		}
	}
	if last := start(h2, "last"); last != web && last != db {
		c.t.Errorf("the last but one is given %s, want %s or %s", last, web, db)
	}
	h1.MustDocker(c.t, "rm", "db")
	start(h1, "full")
	c.refused(h1, "every address of 10.121.0.16/29 is taken", "start", "web")
	h2.MustDocker(c.t, "rm", "-f", "last")
	h1.MustDocker(c.t, "start", "web")
	if now := c.address(h1, "lan1", "web"); !slices.Contains([]netip.Addr{web, db}, now) {
		c.t.Errorf("web is given %s, want the one that is free", now)
	} else {
		hosts[now] = h1
	}
	c.allOwned(hosts)
}

// waitKept waits until the cluster knows which addresses stopped containers
// want again.
func (c *cluster) waitKept(want ...netip.Addr) {
	c.t.Helper()
	eventually(c.t, "what stopped containers want again", func() error {
		var kept []netip.Addr
		for _, it := range c.list(store.RefsSpan()) {
			refs, err := store.Decode[store.Refs](it)
			if err != nil {
				return err
			}
			for _, k := range refs.Kept {
				kept = append(kept, k.Address)
			}
		}
		if len(kept) != len(want) || slices.ContainsFunc(want, func(addr netip.Addr) bool { return !slices.Contains(kept, addr) }) {
			return fmt.Errorf("it is %v, want %v", kept, want)
		}
		return nil
	})
}
