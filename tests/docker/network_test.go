package docker_test

import (
	"testing"

	"gvlan/tests/lab"
)

// TestOneNetworkOnTwoHosts is the promise: made once, present on both hosts,
// addresses of one pool, containers that reach each other over the LAN, and
// gone everywhere when it is removed anywhere.
func TestOneNetworkOnTwoHosts(t *testing.T) {
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			c := newCluster(t, options{hosts: lab.Same(2, release)})
			h1, h2 := c.Hosts[0], c.Hosts[1]
			c.network(h1, "lan1", "--subnet", "10.77.0.0/24", "-o", "parent=eth1")

			web, db := c.run(h1, "lan1", "web"), c.run(h2, "lan1", "db")
			if web == db {
				t.Fatalf("both containers have %s", web)
			}
			c.reaches(h1, "web", db)
			c.reaches(h2, "db", web)
			c.oneOwner(web, h1)
			c.oneOwner(db, h2)

			h1.MustDocker(t, "rm", "-f", "web")
			h2.MustDocker(t, "rm", "-f", "db")
			h2.MustDocker(t, "network", "rm", "lan1")
			c.waitNoNetwork(h1, "lan1")
			c.waitNoNetwork(h2, "lan1")
		})
	}
}
