package docker_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestAlerts: a Prometheus that scrapes agents tells of each fault, once, of nothing
// else, and of nothing any more once it is mended. The faults of a round are there
// together: no alert is to hide another.
func TestAlerts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{
		hosts: lab.Same(4, lab.Docker20), late: 1,
		args: []string{"--metrics-listen", "0.0.0.0:" + metricsPort, "--dns-upstream", "127.0.0.1:9", "--gossip", "on"},
	})
	h1, h4 := c.Hosts[0], c.Hosts[3]
	proxy := c.newEtcdProxy()
	c.agents[3] = c.agentBehind(proxy, h4)
	c.allReady()
	for _, h := range c.Hosts {
		c.spareCards(h)
	}
	c.network(h1, "lan1", "--subnet", "10.90.0.0/24", "--ip-range", "10.90.0.16/30", "-o", "parent=eth1")
	c.network(h1, "lan2", "--subnet", "10.91.0.0/24", "-o", "parent=card2")
	c.network(h1, "lan3", "--subnet", "10.92.0.0/24", "-o", "parent=card3")
	c.network(h1, "lan5", "--subnet", "10.94.0.0/24", "-o", "parent=card4")
	web := c.run(c.Hosts[1], "lan2", "web")
	lost := c.run(c.Hosts[2], "lan2", "lost")
	page := c.Peer.MustExec(t, "busybox", "wget", "-qO-", fmt.Sprintf("http://%s:%s/metrics", h1.Addr4, metricsPort))
	promtool(t, page+"\n", "check", "metrics")
	w := watch(c)
	w.quiet()
	mend := w.breakHosts(web, lost, proxy)
	mend()
	w.etcdLosesItsPast()
	w.once()
	// The log tells of what lasted: once, and once when it was over.
	c.loggedOn(h4, c.agents[3], `msg="works again" what=engine`)
	c.logged(0, `msg="works again" what=store`)
	if began, over := c.times(`msg="failed, and is tried again" what=store`), c.times(`msg="works again" what=store`); began == 0 || began > 5 || over != 1 {
		t.Errorf("that etcd was away is logged %d times, and its end %d times", began, over)
	}
}

// spareCards gives a host more parents.
func (c *cluster) spareCards(h *lab.Host) {
	c.t.Helper()
	for _, n := range []string{"2", "3", "4"} {
		h.MustExec(c.t, "ip", "link", "add", "card"+n, "type", "veth", "peer", "name", "lan"+n)
		h.MustExec(c.t, "ip", "link", "set", "lan"+n, "up")
		h.MustExec(c.t, "ip", "link", "set", "card"+n, "up")
	}
}

// breakHosts breaks what it can on the four hosts while etcd lives, and returns what
// mends it.
func (w watcher) breakHosts(web, lost netip.Addr, proxy *etcdProxy) (mend func()) {
	h1, h2, h3, h4 := w.Hosts[0], w.Hosts[1], w.Hosts[2], w.Hosts[3]
	put := func(addr netip.Addr, lease store.Lease) (key string) {
		key = store.LeaseKey("default", addr)
		must(w.store.Put(w.t.Context(), prefix+key, string(store.Encode(lease))))(w.t)
		return key
	}

	// Of the cluster: an address of nobody, a pool that fills, a name that is taken, a
	// parent that is gone, a stranger.
	ghost := put(netip.MustParseAddr("10.91.0.200"), store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "ghost", Nonce: "0123456789abcdef", Since: 1})
	if found := must(w.auditOn(h1))(w.t); len(found.Findings) != 1 || found.Findings[0].Key != ghost {
		w.t.Errorf("an audit finds %+v, want %s", found.Findings, ghost)
	}
	w.run(h1, "lan1", "full0")
	w.run(h1, "lan1", "full1")
	h2.MustDocker(w.t, "network", "create", "lan4")
	w.create(h1, "lan4", "--subnet", "10.93.0.0/24", "-o", "parent=eth1")
	for _, h := range w.Hosts {
		h.MustExec(w.t, "ip", "link", "del", "card3")
	}
	stranger := w.stranger("/other", store.LiveKey("h1"))

	// Of h4: watches that bring nothing, no engine, and no way to its peers.
	flow := proxy.withhold()
	for i := range 1001 {
		must(w.store.Put(w.t.Context(), prefix+"/busy", fmt.Sprint(i)))(w.t)
	}
	if err := h4.Engine.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.block(h4, "meta l4proto { tcp, udp } th dport 7947 drop", "meta l4proto { tcp, udp } th sport 7947 drop")
	// Of h3: no power. Of h2: a parent that is down, one that is gone and not in use, an
	// address that somebody takes.
	w.powerCut(h3)
	h2.MustExec(w.t, "ip", "link", "set", "card2", "down")
	h2.MustExec(w.t, "ip", "link", "del", "card4")
	taken := put(web, store.Lease{State: store.Leased, Node: "h9", Nonce: "thief", Endpoint: "thief"})
	// Of h1: a firewall, and names that nobody knows.
	w.block(h1, "udp dport 7947 drop")
	stop := w.asksInVain(h1)

	w.tells(map[string]int{"PoolFullSoon": 1})
	w.run(h1, "lan1", "full2")
	w.run(h1, "lan1", "full3")
	w.refused(h1, "every address of 10.90.0.16/30 is taken", "run", "--rm", "--network", "lan1", "busybox", "true")
	w.tells(map[string]int{
		"AddressConflict": 1, "AgentDown": 1, "AuditFound": 1, "EngineDown": 1, "GossipRefused": 1, "HostDown": 1, "HostUnreachable": 1,
		"MirrorLags": 1, "NamesFail": 1, "NetworkNotMade": 1, "NoParent": 1, "ParentDown": 1, "PoolFull": 1, "PoolNearlyFull": 1,
		"UDPBlocked": 1, "Warns": 1,
	})
	return func() {
		stop()
		w.unblock(h1)
		w.unblock(h4)
		flow()
		if err := stranger.Kill(); err != nil {
			w.t.Error(err)
		}
		w.delete(ghost, taken)
		h1.MustDocker(w.t, "network", "rm", "lan3", "lan4", "lan5")
		h2.MustDocker(w.t, "network", "rm", "lan4")
		h2.MustExec(w.t, "ip", "link", "set", "card2", "up")
		w.removeContainers(h2)
		w.removeContainers(h1)
		if err := h4.Engine.Start(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.comesBackEmpty(h3)
		// What it had h3 frees in a minute: not while etcd is away.
		must(w.store.Delete(w.t.Context(), prefix+store.LeaseKey("default", lost)))(w.t)
		for _, it := range w.list(store.NodeEndpointsSpan(h3.Name)) {
			must(w.store.Delete(w.t.Context(), prefix+it.Key))(w.t)
		}
		if found := must(w.auditOn(h1))(w.t); len(found.Findings) > 0 {
			w.t.Errorf("an audit finds %+v", found.Findings)
		}
	}
}

// comesBackEmpty has a host that died get another disk: whether it is the node that
// it was only a person knows.
func (w watcher) comesBackEmpty(h *lab.Host) {
	w.t.Helper()
	w.diskLost(h)
	if err := h.Boot(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.spareCards(h)
	if err := h.Engine.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.agentOf(h).Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.tells(map[string]int{"NotThisNode": 1})
	w.gvlan(h, "recover")
}

// asksInVain asks the listener of a host for what it cannot tell, until stop.
func (w watcher) asksInVain(h *lab.Host) (stop func()) {
	w.t.Helper()
	script := "while :; do dig +tries=1 +timeout=1 @127.0.0.1 -p 5354 example.com >/dev/null; sleep 0.2; done"
	asking := must(h.Start("dig", nil, "sh", "-c", script))(w.t)
	return func() {
		if err := asking.Kill(); err != nil {
			w.t.Error(err)
		}
	}
}

// etcdLosesItsPast has etcd hang, end, and come back as it was before a container
// started.
func (w watcher) etcdLosesItsPast() {
	h1 := w.Hosts[0]
	backup := filepath.Join(w.Dir, "backup.db")
	if err := w.etcd.Backup(w.t.Context(), w.store, backup); err != nil {
		w.t.Fatal(err)
	}
	w.run(h1, "lan2", "kept")
	w.run(h1, "lan2", "gone")
	w.run(h1, "lan2", "late", "--restart", "always")
	h1.MustDocker(w.t, "stop", "late")
	hangs := w.etcd.Process
	if err := hangs.Pause(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = hangs.Resume() }) // what is paused ends nothing
	if _, err := h1.Docker(w.t.Context(), "start", "late"); err == nil {
		w.t.Error("a container started while etcd hung")
	}
	h1.MustDocker(w.t, "rm", "-f", "gone")
	w.tells(map[string]int{"PluginSlow": 1, "ReleasesPending": 1, "StoreUnreachable": len(w.Hosts), "Warns": 1})
	if err := w.etcd.Kill(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.etcd.RestoreBackup(backup, 0); err != nil {
		w.t.Fatal(err)
	}
	if err := w.etcd.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.tells(map[string]int{"GateClosed": 1})
	eventually(w.t, "h1 to know of the gate, and to open it", func() error {
		_, err := h1.Exec(w.t.Context(), w.binary, "recover")
		return err
	})
	h1.MustDocker(w.t, "rm", "-f", "late")
	w.quiet()
}

// TestAlertsOfTheStore: likewise where hosts keep their store themselves, and one
// loses the way to the other two members, but to nobody else.
func TestAlertsOfTheStore(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.Docker20), args: []string{"--metrics-listen", "0.0.0.0:" + metricsPort, "--gossip", "on"}})
	c.formed(c.Hosts...)
	w := watch(c)
	h3 := c.Hosts[2]
	c.block(h3, "ip saddr { "+strings.Join([]string{c.Hosts[0].Addr4.String(), c.Hosts[1].Addr4.String()}, ", ")+" } tcp dport != 7947 tcp sport != 7947 drop")
	w.tells(map[string]int{"StoreMemberSilent": 1, "StoreNotLookedAfter": 1, "StoreUnreachable": 1})
	c.unblock(h3)
	w.quiet()
	w.once()
}
