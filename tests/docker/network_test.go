package docker_test

import (
	"testing"

	"gvlan/tests/lab"
)

// TestOneNetworkOnTwoHosts is the promise.
func TestOneNetworkOnTwoHosts(t *testing.T) {
	onBoth(t, 2, func(c *cluster) { c.scenario("promise", promise) })
}

// TestMainJobOn26 is one pass of the main job on the engine of Debian 13,
// which stands between the two that everything is played on.
func TestMainJobOn26(t *testing.T) {
	t.Parallel()
	for _, release := range lab.Engines(lab.Docker26) {
		c := newCluster(t, options{hosts: lab.Same(2, release)})
		c.scenario("promise", promise)
		c.scenario("agent killed", agentKilled)
		c.scenario("dockerd killed", func(c *cluster) { dockerdGone(c, "killed", false) })
	}
}

// promise: made once, present on both hosts, addresses of one pool, containers
// that reach each other over the LAN by address and by name, and gone
// everywhere when it is removed anywhere.
func promise(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.77.0.0/24", "-o", "parent=eth1")

	web, db := c.run(h1, "lan1", "web"), c.run(h2, "lan1", "db")
	if web == db {
		c.t.Fatalf("both containers have %s", web)
	}
	c.reaches(h1, "web", db)
	c.reaches(h2, "db", web)
	h1.MustDocker(c.t, "exec", "web", "ping", "-c", "1", "-w", "10", "db")
	h2.MustDocker(c.t, "exec", "db", "ping", "-c", "1", "-w", "10", "web")
	c.oneOwner(web, h1)
	c.oneOwner(db, h2)
	for _, h := range c.Hosts { // nobody is given it again, and its holder keeps it
		c.refused(h, "is in use", "run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")
	}
	c.audit()
	c.oneOwner(web, h1)

	h1.MustDocker(c.t, "rm", "-f", "web")
	h2.MustDocker(c.t, "rm", "-f", "db")
	h2.MustDocker(c.t, "network", "rm", "lan1")
	c.waitNoNetwork(h1, "lan1")
	c.waitNoNetwork(h2, "lan1")
}
