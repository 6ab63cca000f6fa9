package docker_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"gvlan/tests/lab"
)

// TestStoreRecovered: all hosts but one die for good. Nothing new is given and
// everything there runs on, until somebody says that this host is all there is.
// The others come back with what they had, which is of no worth any more, or
// with nothing.
func TestStoreRecovered(t *testing.T) {
	t.Parallel()
	for _, is := range []struct {
		name  string
		hosts int
		empty bool // the others' disks are lost
	}{
		{"one of 3 is left", 3, true},
		{"one of 3 is left, the others come back as they were", 3, false},
		{"one of 2 is left", 2, false}, // the learner
	} {
		t.Run(is.name, func(t *testing.T) {
			t.Parallel()
			oneLeft(newOwnCluster(t, options{hosts: lab.Same(is.hosts, lab.Docker28)}), is.empty)
		})
	}
}

func oneLeft(c *cluster, empty bool) {
	c.formed(c.Hosts...)
	survivor, lost := c.Hosts[len(c.Hosts)-1], c.Hosts[:len(c.Hosts)-1]
	c.network(c.Hosts[0], "lan1", "--subnet", "10.213.0.0/24", "-o", "parent=eth1")
	c.joinLAN("10.213.0.250/24")
	web := c.run(survivor, "lan1", "web")
	for _, h := range lost {
		c.run(h, "lan1", "old", "--restart", "always")
	}
	c.audit()
	// What the survivor's member has is what it goes on with.
	c.powerCut(lost...)
	c.refused(survivor, noAddressNow, "run", "--rm", "--network", "lan1", "busybox", "true")
	c.oneOwner(web, survivor)

	c.gvlan(survivor, "store", "recover")
	c.waitMembers([]*lab.Host{survivor}, 1, 0)
	c.refused(survivor, noAddressGiven, "run", "--rm", "--network", "lan1", "busybox", "true")
	c.backAgain(survivor, lost, empty)
	c.recovered(survivor)
	c.enginesBack(lost)

	for _, h := range c.Hosts {
		c.waitNetwork(h, "lan1")
		if addr := c.run(h, "lan1", "new"); addr == web {
			c.t.Errorf("%s was given again, on %s", addr, h.Name)
		}
	}
	c.oneOwner(web, survivor)
	if len(c.Hosts) == 2 {
		c.waitMembers(c.Hosts, 1, 1)
	} else {
		c.waitMembers(c.Hosts, 3, 0)
	}
	c.lookThrough(c.leader(survivor))
	c.audit()
	c.alone(c.Hosts...)
	for _, h := range lost {
		if empty {
			break
		}
		if got := c.running(h); !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, "old 10.213.0.") }) {
			c.t.Errorf("running on %s are %v, want old too", h.Name, got)
		}
		if _, err := os.Stat(h.Path("/var/lib/gvlan/etcd.old/member")); err != nil {
			c.t.Errorf("what the member of %s had is not set aside: %v", h.Name, err)
		}
	}
	c.clear()
}

// noAddressGiven is what a refused start says of a store that was made anew.
const noAddressGiven = "no new address is given in the cluster: the store lost its past"

// backAgain has hosts that died come back all at once, with an agent each but
// without engines yet. Empty ones join again, under the names they had:
// whether they are those nodes only a person knows.
func (c *cluster) backAgain(survivor *lab.Host, lost []*lab.Host, empty bool) {
	c.t.Helper()
	for _, h := range lost {
		if empty {
			c.diskLost(h)
		}
		if err := h.Boot(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, h := range lost {
		if err := c.agentOf(h).Start(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	if !empty {
		return
	}
	for _, h := range lost {
		c.waitTrusted(h)
	}
	words := c.joinWords(c.gvlan(survivor, "token", "show"))
	for _, h := range lost {
		c.refuses(h, "run `gvlan recover` here if it is", words...)
		c.gvlan(h, "recover")
	}
}

// enginesBack starts the engines of hosts whose agents have the store already.
func (c *cluster) enginesBack(hosts []*lab.Host) {
	c.t.Helper()
	var start sync.WaitGroup
	for _, h := range hosts {
		start.Go(func() { c.startEngineAfterAgent(h) })
	}
	start.Wait()
}

// recovered has every known node write its leases back, and waits until
// addresses are given again.
func (c *cluster) recovered(h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "gvlan recover", func() error {
		_, err := h.Exec(c.t.Context(), c.binary, "recover", "--wait", "5s")
		return err
	})
	for _, h := range c.Hosts {
		c.waitTrusted(h)
	}
}

// TestStoreFromYesterday: the cluster's store comes back as it was before
// containers were started. None of their addresses is given again.
func TestStoreFromYesterday(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	c.formed(c.Hosts...)
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.214.0.0/24", "-o", "parent=eth1")
	c.joinLAN("10.214.0.250/24")
	taken := []netip.Addr{c.run(h1, "lan1", "before")}
	c.gvlan(h1, "backup", "/var/lib/gvlan/yesterday")
	for i := range 3 {
		taken = append(taken, c.run(h2, "lan1", fmt.Sprintf("web%d", i)))
	}
	c.refuses(h1, "nothing was done: add --yes", "restore", "/var/lib/gvlan/yesterday")
	c.gvlan(h1, "restore", "/var/lib/gvlan/yesterday", "--yes")
	c.refused(h1, noAddressGiven, "run", "--rm", "--network", "lan1", "busybox", "true")
	c.recovered(h1)
	for _, h := range c.Hosts {
		for i := range 2 {
			addr := c.run(h, "lan1", fmt.Sprintf("after%d", i))
			if slices.Contains(taken, addr) {
				c.t.Errorf("%s was given twice", addr)
			}
			taken = append(taken, addr)
		}
	}
	c.waitMembers(c.Hosts, 3, 0)
	c.lookThrough(c.leader(h1))
	c.audit()
	c.alone(c.Hosts...)
	c.clear()
}
