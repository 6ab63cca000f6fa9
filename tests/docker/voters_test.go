package docker_test

import (
	"fmt"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestVoters: hosts become a cluster by the commands that the README shows,
// and keep its store themselves, as many of them as their number allows.
func TestVoters(t *testing.T) {
	t.Parallel()
	t.Run("five hosts", fiveHosts)
	t.Run("two hosts", twoHosts)
}

func fiveHosts(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(5, lab.Docker28), late: 2})
	h1, h2, h3, h4, h5 := c.Hosts[0], c.Hosts[1], c.Hosts[2], c.Hosts[3], c.Hosts[4]

	// Begun by a host that has something already, which stays.
	h1.MustDocker(t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.210.0.0/24", "-o", "parent=eth1", "lan1")
	web := c.run(h1, "lan1", "web")
	said := c.gvlan(h1, "init")
	words := c.joinWords(said)
	if words[1] != "10.99.0.1" || !strings.Contains(said, "healthy") {
		t.Errorf("gvlan init says\n%s\nwant the address that others reach it by, and its status", said)
	}
	c.joinAtOnce(words, h2, h3)
	c.waitMembers(c.Hosts[:3], 3, 0)
	c.lookThrough(h1)
	for i, h := range []*lab.Host{h2, h3} {
		c.waitNetwork(h, "lan1")
		name := fmt.Sprintf("api%d", i)
		api := c.run(h, "lan1", name)
		c.reaches(h, name, web)
		c.reaches(h1, "web", api)
	}

	for i, h := range []*lab.Host{h4, h5} {
		c.agents[3+i] = c.agent(h, c.args...)
		c.waitTrusted(h)
	}
	c.joinAtOnce(words, h4, h5)
	for _, h := range []*lab.Host{h4, h5} {
		c.waitNetwork(h, "lan1")
		c.run(h, "lan1", "late")
	}
	if v := c.waitMembers(c.Hosts, 3, 0); len(v.Hosts) != 2 || v.Hosts[0].Why == "" || v.Hosts[1].Why == "" {
		t.Errorf("the store's list has %+v beside its members, want h4 and h5 and why they are none", v.Hosts)
	}
	c.audit()

	c.refuses(h5, "1, 3 or 5", "store", "size", "4")
	c.gvlan(h5, "store", "size", "5")
	c.waitMembers(c.Hosts, 5, 0)
	c.gvlan(h2, "store", "size", "auto")
	c.waitMembers(c.Hosts, 3, 0)
	c.lookThrough(c.leader(h1))
	c.audit()
	c.clear()
}

// twoHosts: the second has a copy and no vote. With a third all of them vote.
func twoHosts(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.NoDocker)})
	words := c.begin(c.Hosts[0])
	c.waitMembers(c.Hosts[:1], 1, 0)
	c.joinAtOnce(words, c.Hosts[1])
	c.waitMembers(c.Hosts[:2], 1, 1)
	c.joinAtOnce(words, c.Hosts[2])
	c.waitMembers(c.Hosts, 3, 0)
}
