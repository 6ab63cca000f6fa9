package docker_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/tests/lab"
)

// TestReplicas: what a host has that did not make the network, and what keeps
// it from having it.
func TestReplicas(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("every flag arrives", everyFlagArrives)
		c.scenario("a host without the parent", hostWithoutParent)
		c.scenario("an engine is down", engineDown)
		c.scenario("another driver has the name", nameOfAnotherDriver)
	})
}

// inspected is what the engine says of a network, but for its ids and times.
type inspected struct {
	Scope, Driver        string
	EnableIPv6, Internal bool
	Attachable           bool
	Options, Labels      map[string]string
	IPAM                 struct {
		Driver  string
		Options map[string]string
		Config  []inspectedPool
	}
}

type inspectedPool struct {
	Subnet, IPRange, Gateway string
	AuxiliaryAddresses       map[string]string
}

func (c *cluster) inspectNetwork(h *lab.Host, name string) (n inspected) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(h.MustDocker(c.t, "network", "inspect", "-f", "{{json .}}", name)), &n); err != nil {
		c.t.Fatal(err)
	}
	// Docker's command line sends subnets in random order.
	slices.SortFunc(n.IPAM.Config, func(a, b inspectedPool) int { return strings.Compare(a.Subnet, b.Subnet) })
	return n
}

// everyFlagArrives gives the flags that docker network create has, but for
// --internal, whose dummy this kernel may lack, and wants the other host's
// engine to show the same, and the mark of a replica.
func everyFlagArrives(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--attachable", "--ipv6", "--label", "team=a", "--label", "floor=2",
		"--subnet", "10.190.0.0/24", "--ip-range", "10.190.0.128/25", "--gateway", "10.190.0.254",
		"--aux-address", "nas=10.190.0.130", "--aux-address", "printer=10.190.0.131",
		"--subnet", "fd90::/64", "--gateway", "fd90::fe",
		"--ipam-opt", "exclude=10.190.0.140-10.190.0.149", "--ipam-opt", "segment=floor2",
		"-o", "parent=eth1", "-o", "macvlan_mode=private", "-o", "mtu=1400")
	made, copied := c.inspectNetwork(h1, "lan1"), c.inspectNetwork(h2, "lan1")
	uuid := copied.Labels["gvlan.network"]
	delete(copied.Labels, "gvlan.network")
	if diff := cmp.Diff(made, copied); diff != "" {
		c.t.Errorf("the replica differs (-made +copied):\n%s", diff)
	}
	if want := c.defined("lan1"); uuid != want {
		c.t.Errorf("the replica is marked %q, want the definition's uuid %s", uuid, want)
	}
	if len(made.IPAM.Config) != 2 || !made.Attachable || !made.EnableIPv6 || made.Options["mtu"] != "1400" {
		c.t.Errorf("lan1 is %+v, want what was asked for", made)
	}
}

// defined is the uuid of a definition as this cluster's commands show it.
func (c *cluster) defined(name string) string {
	c.t.Helper()
	for _, n := range c.status(c.Hosts[0]).Networks {
		if n.Name == name {
			return n.UUID
		}
	}
	c.t.Fatalf("h1 has no network %s", name)
	return ""
}

// hostWithoutParent: the network is there all the same, and says why no
// container of it can start. It needs nothing but the link to appear.
func hostWithoutParent(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	h1.MustExec(c.t, "ip", "link", "add", "lab7", "type", "bridge")
	defer h1.MustExec(c.t, "ip", "link", "del", "lab7")
	c.network(h1, "lan1", "--subnet", "10.192.0.0/24", "-o", "parent=lab7")
	c.run(h1, "lan1", "web")
	c.parentNow(h1, "lan1", "lab7")
	c.parentNow(h2, "lan1", "")
	c.refused(h2, "lab7", "run", "--rm", "--network", "lan1", "busybox", "true")
	for _, h := range c.Hosts { // every host knows which of them cannot
		if ls := c.gvlan(h, "network", "ls"); !strings.Contains(ls, "h2: no usable parent") {
			c.t.Errorf("gvlan network ls on %s says\n%s\nwant it to say why h2 has no parent", h.Name, ls)
		}
	}
	h2.MustExec(c.t, "ip", "link", "add", "lab7", "type", "bridge")
	defer h2.MustExec(c.t, "ip", "link", "del", "lab7")
	c.parentNow(h2, "lan1", "lab7")
	c.run(h2, "lan1", "db")
	for _, h := range c.Hosts {
		c.removeContainers(h)
	}
}

// engineDown: what is made and removed meanwhile is made and removed here as
// soon as the engine is back.
func engineDown(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "old", "--subnet", "10.193.0.0/24", "-o", "parent=eth1")
	if err := h2.Engine.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.create(h1, "new", "--subnet", "10.194.0.0/24", "-o", "parent=eth1")
	c.waitNetwork(h1, "new")
	h1.MustDocker(c.t, "network", "rm", "old")
	c.waitNoNetwork(h1, "old")
	if err := h2.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitNetwork(h2, "new")
	c.waitNoNetwork(h2, "old")
	c.waitUndefined("old")
	c.run(h2, "new", "web")
}

// nameOfAnotherDriver: nobody's network is removed for ours; its host says
// so to everybody, until the name is free.
func nameOfAnotherDriver(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	h2.MustDocker(c.t, "network", "create", "-d", "bridge", "lan1")
	c.create(h1, "lan1", "--subnet", "10.195.0.0/24", "-o", "parent=eth1")
	c.waitNetwork(h1, "lan1")
	eventually(c.t, "h1 to know what h2 lacks", func() error {
		if ls := c.gvlan(h1, "network", "ls"); !strings.Contains(ls, "a network of driver bridge has that name here") {
			return fmt.Errorf("gvlan network ls says\n%s", ls)
		}
		return nil
	})
	h2.MustDocker(c.t, "network", "rm", "lan1")
	c.waitNetwork(h2, "lan1")
	c.run(h2, "lan1", "web")
}
