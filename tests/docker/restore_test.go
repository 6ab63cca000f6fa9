package docker_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestRestoredFromABackup: etcd comes back as it was before containers were
// started, restored by etcdutl in both of its ways. No address is given twice:
// not before `gvlan recover`, run once, and not after it, whether the host of
// the containers took part or not.
func TestRestoredFromABackup(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	c.scenario("plain", func(c *cluster) { restored(c, "lan1", 0) })
	c.scenario("with --bump-revision --mark-compacted", func(c *cluster) { restored(c, "lan2", 1_000_000_000) })
}

func restored(c *cluster, lan string, bump uint64) {
	h1, h2, h3 := c.Hosts[0], c.Hosts[1], c.Hosts[2]
	c.network(h1, lan, "--subnet", "10.96.0.0/24", "-o", "parent=eth1")
	for _, h := range c.Hosts {
		c.waitNetwork(h, lan)
	}
	taken := []netip.Addr{c.run(h1, lan, "before")}
	backup := filepath.Join(c.Dir, fmt.Sprintf("backup-%d.db", bump))
	if err := c.etcd.Backup(c.t.Context(), c.store, backup); err != nil {
		c.t.Fatal(err)
	}
	for i := range 3 {
		taken = append(taken, c.run(h2, lan, fmt.Sprintf("web%d", i)))
	}
	left := c.run(h3, lan, "left") // whose agent takes no part
	taken = append(taken, left)
	c.localNetwork(h2)
	if err := c.agents[2].Kill(); err != nil {
		c.t.Fatal(err)
	}
	for _, agent := range c.agents[:2] { // until no revision tells: then only a missing write does
		if err := agent.Pause(); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := c.etcd.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := c.etcd.RestoreBackup(backup, bump); err != nil {
		c.t.Fatal(err)
	}
	if err := c.etcd.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	for range 300 { // beyond every revision that was seen, by others
		if _, err := c.store.Put(c.t.Context(), "/others", ""); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, agent := range c.agents[:2] {
		if err := agent.Resume(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.logged(1, "is gone")
	for i, h := range []*lab.Host{h1, h2} {
		c.logged(i, "gvlan recover")
		c.refused(h, "gvlan recover", "run", "--rm", "--network", lan, "busybox", "true")
	}
	eventually(c.t, "recover to wait for h3 alone", func() error {
		out, err := h2.Exec(c.t.Context(), c.binary, "recover", "--wait", "0s")
		if err == nil {
			c.t.Fatalf("recovered without h3: %s", out)
		}
		if text := out + err.Error(); !strings.Contains(text, "it waits for h3 (the agents of h3 are not connected)") {
			return fmt.Errorf("it says %s", text)
		}
		return nil
	})
	out := h2.MustExec(c.t, c.binary, "recover", "--without", "h3")
	if !strings.Contains(out, "leases were written back by h1, h2") {
		c.t.Errorf("recover says %s", out)
	}
	c.waitTrusted(h1)
	c.waitTrusted(h2)
	if out, err := h1.Exec(c.t.Context(), c.binary, "recover"); err == nil || !strings.Contains(out+err.Error(), "nothing to recover") {
		c.t.Errorf("a second recover: %s %v", out, err)
	}
	for i := range 3 {
		addr := c.run(h1, lan, fmt.Sprintf("after%d", i))
		if slices.Contains(taken, addr) {
			c.t.Errorf("%s was given twice", addr)
		}
		taken = append(taken, addr)
	}
	c.refused(h1, "answers on the LAN", "run", "--rm", "--network", lan, "--ip", left.String(), "busybox", "true")
	c.refused(h2, "is the auxiliary address router", "run", "--rm", "--network", "here", "--ip", "10.97.0.5", "busybox", "true")
	c.startAgain(2)
	c.oneOwner(left, h3)
	for _, addr := range taken[1:4] {
		c.oneOwner(addr, h2)
	}
	h2.MustDocker(c.t, "network", "rm", "here")
	if err := c.keepNoCaution(); err != nil {
		c.t.Fatal(err)
	}
}

// localNetwork makes a network of one host with a gateway and an aux address.
func (c *cluster) localNetwork(h *lab.Host) {
	c.t.Helper()
	h.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "-o", "scope=local",
		"--subnet", "10.97.0.0/24", "--aux-address", "router=10.97.0.5", "-o", "parent=eth1", "here")
}

// keepNoCaution ends the time in which the LAN is asked, for what follows.
func (c *cluster) keepNoCaution() error {
	_, err := c.store.Delete(c.t.Context(), prefix+store.CautionKey())
	return err
}
