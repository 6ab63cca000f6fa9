package docker_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"gvlan/tests/lab"
)

// TestDefinitionOnSixHosts: defined once on any host, present on every one,
// also on those that come later or were away.
func TestDefinitionOnSixHosts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: mixed(6), late: 1})
	c.scenario("made, used and removed on different hosts", madeUsedRemoved)
	c.scenario("a host was down for the removal", hostDownForRemoval)
}

// TestClashingNames: whatever is made at once, all hosts end alike.
func TestClashingNames(t *testing.T) {
	onMixed(t, 3, func(c *cluster) {
		c.scenario("twenty at once", twentyAtOnce)
		c.scenario("identical definitions merge", identicalMerge)
	})
}

// TestDefinitionReturns: what only looked like a removal of the cluster's
// network is undone.
func TestDefinitionReturns(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("removed while the agent was down", removedBehindAgent)
		c.scenario("compose up and down", composeUpAndDown)
	})
}

// everywhere makes a network on a host and waits until those hosts have it.
func (c *cluster) everywhere(h *lab.Host, hosts []*lab.Host, name string, flags ...string) {
	c.t.Helper()
	c.create(h, name, flags...)
	for _, other := range hosts {
		c.waitNetwork(other, name)
	}
}

// create makes a network with plain docker, and waits for nothing.
func (c *cluster) create(h *lab.Host, name string, flags ...string) {
	c.t.Helper()
	args := append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan"}, flags...)
	h.MustDocker(c.t, append(args, name)...)
}

func madeUsedRemoved(c *cluster) {
	five := c.Hosts[:5]
	h1, h2, h3, h5, h6 := c.Hosts[0], c.Hosts[1], c.Hosts[2], c.Hosts[4], c.Hosts[5]
	c.everywhere(h3, five, "lan1", "--subnet", "10.160.0.0/24", "-o", "parent=eth1")
	c.everywhere(h2, five, "lan2", "--subnet", "10.161.0.0/24", "--aux-address", "nas=10.161.0.9", "-o", "parent=eth1")
	web, db := c.run(h1, "lan1", "web"), c.run(h5, "lan1", "db")
	c.reaches(h1, "web", db)
	c.reaches(h5, "db", web)
	c.oneOwner(web, h1)
	c.oneOwner(db, h5)

	c.agents[5] = c.startAgent(h6)
	c.waitTrusted(h6)
	c.waitNetwork(h6, "lan1")
	c.waitNetwork(h6, "lan2")
	late := c.run(h6, "lan1", "late")
	c.reaches(h6, "late", web)
	c.oneOwner(late, h6)

	for h, name := range map[*lab.Host]string{h1: "web", h5: "db", h6: "late"} {
		h.MustDocker(c.t, "rm", "-f", name)
	}
	h2.MustDocker(c.t, "network", "rm", "lan1")
	c.waitUndefined("lan1")
	for _, h := range c.Hosts {
		c.waitNoNetwork(h, "lan1")
		c.stillThere(h, "lan2")
	}
}

// hostDownForRemoval: the power of a host goes, containers and all; a
// network it has is removed meanwhile, another stays.
func hostDownForRemoval(c *cluster) {
	h2, h5 := c.Hosts[1], c.Hosts[4]
	c.network(h2, "gone", "--subnet", "10.162.0.0/24", "-o", "parent=eth1")
	c.network(h2, "kept", "--subnet", "10.163.0.0/24", "-o", "parent=eth1")
	c.run(h5, "kept", "web", "--ip", "10.163.0.50")
	if err := h5.Crash(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	h2.MustDocker(c.t, "network", "rm", "gone")
	c.waitUndefined("gone") // h5 is not waited for once it is no longer live
	if err := h5.Boot(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := c.agents[4].Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := h5.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(h5)
	c.waitNoNetwork(h5, "gone")
	c.waitNetwork(h5, "kept")
	h5.MustDocker(c.t, "start", "web")
	c.oneOwner(netip.MustParseAddr("10.163.0.50"), h5)
}

// twentyAtOnce: ten names that one host makes, ten that two hosts make
// differently at the same moment.
func twentyAtOnce(c *cluster) {
	var made sync.WaitGroup
	create := func(h *lab.Host, name, subnet string) {
		made.Go(func() {
			_, err := h.Docker(c.t.Context(), "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
				"--subnet", subnet, "-o", "parent=eth1", name)
			// The other host's may be here already: then this one is refused.
			if err != nil && !strings.Contains(err.Error(), "already exists") {
				c.t.Errorf("create %s on %s: %v", name, h.Name, err)
			}
		})
	}
	var want []string
	for i := range 10 {
		lone, clash := fmt.Sprintf("lone%d", i), fmt.Sprintf("clash%d", i)
		want = append(want, lone, clash)
		create(c.Hosts[i%3], lone, fmt.Sprintf("10.164.%d.0/24", i))
		create(c.Hosts[i%3], clash, fmt.Sprintf("10.165.%d.0/24", i))
		create(c.Hosts[(i+1)%3], clash, fmt.Sprintf("10.166.%d.0/24", i))
	}
	made.Wait()
	for _, name := range want {
		for _, h := range c.Hosts {
			c.sameAsDefined(h, name)
		}
	}
	for _, h := range c.Hosts {
		c.stillThere(h, want...)
	}
}

// sameAsDefined waits until a host has the network with the subnet that etcd
// has for it.
func (c *cluster) sameAsDefined(h *lab.Host, name string) {
	c.t.Helper()
	c.waitNetwork(h, name)
	eventually(c.t, name+" on "+h.Name+" to be as defined", func() error {
		n, err := c.engineNetwork(h, name)
		var got []string
		for _, pool := range n.IPAM.Config {
			got = append(got, pool.Subnet)
		}
		slices.Sort(got)
		if want := c.subnets(name); err == nil && strings.Join(got, " ") != want {
			err = fmt.Errorf("it has subnets %v, want %s", got, want)
		}
		return err
	})
}

// identicalMerge: three users type the same, and all of them are right.
func identicalMerge(c *cluster) {
	var made sync.WaitGroup
	before := make([]string, len(c.Hosts))
	for i, h := range c.Hosts {
		made.Go(func() {
			id, err := h.Docker(c.t.Context(), "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
				"--subnet", "10.167.0.0/24", "--gateway", "10.167.0.1", "--label", "team=a", "-o", "parent=eth1", "same")
			if err != nil && !strings.Contains(err.Error(), "already exists") {
				c.t.Error(err)
			}
			before[i] = id
		})
	}
	made.Wait()
	for i, h := range c.Hosts {
		c.waitNetwork(h, "same")
		if id := c.networkID(h, "same"); before[i] != "" && id != before[i] {
			c.t.Errorf("%s has network %.12s, want the one it made, %.12s", h.Name, id, before[i])
		}
	}
	one, two := c.run(c.Hosts[0], "same", "one"), c.run(c.Hosts[1], "same", "two")
	c.reaches(c.Hosts[0], "one", two)
	c.reaches(c.Hosts[1], "two", one)
}

// removedBehindAgent: drift. Docker removes a replica while nobody is there
// to be told, and the agent makes it again.
func removedBehindAgent(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.169.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	before := c.networkID(h2, "lan1")
	if err := c.agents[1].Kill(); err != nil {
		c.t.Fatal(err)
	}
	h2.MustDocker(c.t, "network", "rm", "lan1")
	c.startAgain(1)
	c.waitBack(h2, "lan1", before)
	c.run(h2, "lan1", "db")
	c.reaches(h2, "db", web)
}

// composeUpAndDown plays the compose file of deploy/examples as it is, on
// both hosts: one project whose services are spread over them.
func composeUpAndDown(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	file := must(c.example("compose.yml"))(c.t)
	compose := func(h *lab.Host, args ...string) string {
		return h.MustExec(c.t, "docker-compose", append([]string{"-p", "shop", "-f", file}, args...)...)
	}
	compose(h1, "up", "-d", "web")
	c.waitNetwork(h1, "lan")
	c.waitNetwork(h2, "lan")
	compose(h1, "up", "-d", "--no-deps", "api")
	compose(h2, "up", "-d", "--no-deps", "client")
	client := strings.TrimSpace(compose(h2, "ps", "-q", "client"))
	for _, page := range []string{"http://web/", "http://api/answer"} {
		eventually(c.t, page+" on the other host", func() error {
			_, err := h2.Docker(c.t.Context(), "exec", client, "wget", "-q", "-O", "-", page)
			return err
		})
	}
	for _, addr := range c.leased() {
		if !netip.MustParsePrefix("192.168.32.128/25").Contains(addr) {
			c.t.Errorf("%s was given, want one of the file's ip_range", addr)
		}
	}
	before := c.networkID(h2, "lan")
	compose(h1, "down")
	c.waitNetwork(h2, "lan")
	c.waitNetwork(h1, "lan") // client on h2 refers to it
	if id := c.networkID(h2, "lan"); id != before {
		c.t.Errorf("h2 has network %.12s, want %.12s as before", id, before)
	}
	compose(h2, "down")
	c.waitUndefined("lan")
	c.waitNoNetwork(h1, "lan")
}

// example puts a file of deploy/examples where every machine sees it.
func (c *cluster) example(name string) (string, error) {
	to := c.Dir + "/" + name
	return to, copyFile("../../deploy/examples/"+name, to)
}

// leased lists the addresses that containers have, as etcd tells it.
func (c *cluster) leased() (all []netip.Addr) {
	c.t.Helper()
	for _, line := range must(c.records())(c.t).leases {
		text, _, _ := strings.Cut(line, ":")
		if addr, err := netip.ParseAddr(text); err == nil {
			all = append(all, addr)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
