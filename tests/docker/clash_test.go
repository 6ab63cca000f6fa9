package docker_test

import (
	"fmt"
	"net/netip"
	"strings"

	"gvlan/tests/lab"
)

// bothMake has h2 make lan1, whose agent dies when it was about to define it,
// and h1 define it meanwhile. It returns what h2's engine made.
func (c *cluster) bothMake(first, second string) (id string) {
	c.t.Helper()
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.arm(1, "commit: begun")
	c.create(h2, "lan1", "--subnet", second, "-o", "parent=eth1")
	<-c.agents[1].Done()
	c.create(h1, "lan1", "--subnet", first, "-o", "parent=eth1")
	c.waitNetwork(h1, "lan1")
	return c.networkID(h2, "lan1")
}

// clashUnused: the loser's network is replaced, and both hosts say so.
func clashUnused(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	id := c.bothMake("10.175.0.0/24", "10.176.0.0/24")
	c.agents[1] = c.startAgent(h2)
	c.logged(1, "node h1 defined a different network of this name first")
	c.logged(0, "node h2 made a different network lan1, which was defined on this node first")
	c.waitBack(h2, "lan1", id)
	c.sameAsDefined(h2, "lan1")
	web := c.run(h1, "lan1", "web")
	c.run(h2, "lan1", "db")
	c.reaches(h2, "db", web)
}

// mergeForCertain: h2's own network, made before it knew of h1's, stands for
// the definition.
func mergeForCertain(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	id := c.bothMake("10.177.0.0/24", "10.177.0.0/24")
	web := c.run(h1, "lan1", "web")
	c.agents[1] = c.startAgent(h2)
	c.waitTrusted(h2)
	c.waitNetwork(h2, "lan1")
	db := c.run(h2, "lan1", "db")
	c.reaches(h1, "web", db)
	c.reaches(h2, "db", web)
	if now := c.networkID(h2, "lan1"); now != id {
		c.t.Errorf("h2 has network %.12s, want the one it made, %.12s", now, id)
	}
}

// clashWithContainer: a container that never ran refers to the network that
// came second. Whoever starts it is told.
func clashWithContainer(c *cluster) {
	h2 := c.Hosts[1]
	c.bothMake("10.174.0.0/24", "10.173.0.0/24")
	h2.MustDocker(c.t, "create", "--stop-signal", "KILL", "--network", "lan1", "--name", "web", "busybox", "sleep", "100000")
	c.agents[1] = c.startAgent(h2)
	c.waitTrusted(h2)
	c.logged(0, "node h2 made a different network lan1, which was defined on this node first", "web")
	c.fares(h2, "lan1", "conflict", "node h1 defined a different network of this name first", "web")
	c.refused(h2, "network lan1 on node h2: node h1 defined a different network of this name first", "start", "web")
	for _, h := range c.Hosts { // everybody is told
		if ls := h.MustExec(c.t, c.binary, "network", "ls"); !strings.Contains(ls, "node h1 defined a different network of this name first") {
			c.t.Errorf("gvlan network ls on %s says\n%s\nwant the clash in it", h.Name, ls)
		}
	}
	h2.MustDocker(c.t, "rm", "-f", "web")
	c.sameAsDefined(h2, "lan1")
	if web := c.run(h2, "lan1", "web"); !netip.MustParsePrefix("10.174.0.0/24").Contains(web) {
		c.t.Errorf("web has %s, want one of the cluster's network", web)
	}
}

// fares waits until the agent of a host says that of a network.
func (c *cluster) fares(h *lab.Host, name, state string, words ...string) {
	c.t.Helper()
	eventually(c.t, name+" to be "+state+" on "+h.Name, func() error {
		for _, n := range c.status(h).Networks {
			if n.Name == name && n.State == state && hasAll(n.Why, words) {
				return nil
			}
		}
		return fmt.Errorf("status: %+v", c.status(h).Networks)
	})
}
