package docker_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
)

// diesCreating: the network is made in spite of it, or is nowhere and its
// maker was told.
func diesCreating(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.arm(d.on, d.at)
	made := make(chan error, 1)
	go func() {
		_, err := h1.Docker(c.t.Context(), "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
			"--subnet", d.subnet+".0/24", "--aux-address", "nas="+d.subnet+".9", "-o", "parent=eth1", d.network)
		made <- err
	}()
	c.mourn(d.on)
	if err := <-made; err != nil {
		c.t.Logf("docker network create: %v", err)
		c.waitUndefined(d.network)
		c.waitNoNetwork(h1, d.network)
		c.waitNoNetwork(h2, d.network)
		return
	}
	c.whole(d.network)
}

// whole waits until both hosts have the network, and uses it.
func (c *cluster) whole(name string) {
	c.t.Helper()
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.waitNetwork(h1, name)
	c.waitNetwork(h2, name)
	web, db := c.run(h1, name, name+"-web"), c.run(h2, name, name+"-db")
	c.reaches(h1, name+"-web", db)
	c.oneOwner(web, h1)
	c.oneOwner(db, h2)
	for _, l := range c.list(store.AllLeasesSpan()) {
		if strings.Contains(string(l.Value), "engine:") {
			c.t.Errorf("a lease is not in the definition's name: %s", l.Value)
		}
	}
}

// diesRemoving: the network is gone everywhere, or its remover was told that
// it is not, and it is whole.
func diesRemoving(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	c.arm(d.on, d.at)
	removed := make(chan error, 1)
	go func() {
		_, err := h1.Docker(c.t.Context(), "network", "rm", d.network)
		removed <- err
	}()
	c.mourn(d.on)
	if err := <-removed; err != nil {
		c.t.Logf("docker network rm: %v", err)
		*d.after = append(*d.after, func(c *cluster) { c.whole(d.network) })
		return
	}
	c.waitUndefined(d.network)
	c.waitNoNetwork(h1, d.network)
	c.waitNoNetwork(h2, d.network)
}

// diesRenewing: the agent dies when it has said that a network is wanted again
// which both hosts were told to remove.
func diesRenewing(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	flags := []string{"--subnet", d.subnet + ".0/24", "-o", "parent=eth1"}
	c.network(h1, d.network, flags...)
	c.arm(d.on, d.at)
	h1.MustDocker(c.t, "network", "rm", d.network)
	h2.MustDocker(c.t, "network", "rm", d.network)
	c.create(h1, d.network, flags...)
	c.mourn(d.on)
	eventually(c.t, "the network on h2 again", func() error {
		if !slices.Contains(c.networks(h2), d.network) {
			return errors.New("h2 has no such network")
		}
		return nil
	})
	c.whole(d.network)
}

// diesKeeping: the agent dies while it is told of a removal, so that Docker
// keeps the network, and its follower when it takes the network back.
func diesKeeping(c *cluster, d death) {
	h1 := c.Hosts[0]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	c.arm(d.on, "delete: journaled")
	removed := make(chan error, 1)
	go func() {
		_, err := h1.Docker(c.t.Context(), "network", "rm", d.network)
		removed <- err
	}()
	<-c.agents[d.on].Done()
	c.arm(d.on, d.at)
	if err := <-removed; err == nil { // the next agent heard of it too
		c.waitUndefined(d.network)
		return
	}
	c.mourn(d.on)
	*d.after = append(*d.after, func(c *cluster) { c.whole(d.network) })
}

// diesForced: an operator put the containers out, and so they are.
func diesForced(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	for _, name := range []string{"-one", "-two"} {
		c.run(h2, d.network, d.network+name)
		c.waitRefs(h2, d.network+name)
	}
	c.arm(d.on, d.at)
	forced := make(chan error, 1)
	go func() {
		_, err := h1.Exec(c.t.Context(), c.binary, "network", "rm", "--force", d.network)
		forced <- err
	}()
	c.mourn(d.on)
	if err := <-forced; err != nil {
		c.t.Logf("gvlan network rm: %v", err) // it may stop waiting, not removing
	}
	c.waitUndefined(d.network)
	c.waitNoNetwork(h1, d.network)
	c.waitNoNetwork(h2, d.network)
	for _, name := range []string{"-one", "-two"} {
		c.wantInterfaces(h2, d.network+name)
	}
}

// diesAdopting: a host lost its journal, and its agent dies again when it takes
// the network back.
func diesAdopting(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	id := c.networkID(h2, d.network)
	if err := c.agents[d.on].Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	h2.MustExec(c.t, "rm", "/var/lib/gvlan/journal.db")
	c.startDeadly(d.on, d.at)
	c.mourn(d.on)
	c.whole(d.network)
	if now := c.networkID(h2, d.network); now != id {
		c.t.Errorf("h2 has network %.12s, want %.12s as before", now, id)
	}
}

// diesReturning: a stopped container needs the network, so it comes back.
func diesReturning(c *cluster, d death) {
	h1 := c.Hosts[0]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	c.run(h1, d.network, d.network+"-old", "--ip", d.subnet+".50")
	h1.MustDocker(c.t, "stop", d.network+"-old")
	before := c.networkID(h1, d.network)
	c.arm(d.on, d.at)
	h1.MustDocker(c.t, "network", "rm", d.network)
	c.mourn(d.on)
	c.waitBack(h1, d.network, before)
	eventually(c.t, "the stopped container to start again", func() error {
		_, err := h1.Docker(c.t.Context(), "start", d.network+"-old")
		return err
	})
	if e := c.inspect(h1, d.network, d.network+"-old"); e.IPAddress != d.subnet+".50" {
		c.t.Errorf("old came back with %+v, want its own address", e)
	}
	c.whole(d.network)
}

// diesStarting: the start fails, and with its address goes all that the store
// has of it.
func diesStarting(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	address := netip.MustParseAddr(d.subnet + ".9")
	c.arm(d.on, d.at)
	started := make(chan error, 1)
	go func() {
		_, err := h1.Docker(c.t.Context(), "run", "--rm", "--network", d.network, "--ip", address.String(), "busybox", "true")
		started <- err
	}()
	c.mourn(d.on)
	if err := <-started; err == nil {
		c.t.Error("a container started whose agent died")
	}
	*d.after = append(*d.after, func(c *cluster) {
		eventually(c.t, address.String()+" to be free", func() error {
			if left := c.list(store.LeasesSpan("default", netip.PrefixFrom(address, 32))); len(left) > 0 {
				return fmt.Errorf("its record is %s", left[0].Value)
			}
			return nil
		})
		for _, it := range c.list(store.EndpointsSpan()) {
			if strings.Contains(string(it.Value), address.String()+"/") {
				c.t.Errorf("%s is free, and an endpoint says that it has it: %s", address, it.Value)
			}
		}
		c.run(h2, d.network, d.network+"-next", "--ip", address.String())
		c.reaches(h2, d.network+"-next", address)
	})
}
