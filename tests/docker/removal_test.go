package docker_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestRemovals: a network goes everywhere when nobody refers to it, and
// never otherwise.
func TestRemovals(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("rm on any host", removedAnywhere)
		c.scenario("another of its name at once", anotherAtOnce)
		c.scenario("in use by a running container elsewhere", usedElsewhere)
		c.scenario("in use by a stopped container elsewhere", usedByStoppedElsewhere)
		c.scenario("in use by a stopped container here", usedByStoppedHere)
		c.scenario("prune", pruned)
		c.scenario("names that look like paths", namesLikePaths)
	})
}

// TestHostComesLater: a host that was away learns what it missed.
func TestHostComesLater(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(3, release), late: 1})
			c.scenario("a later host gets everything", laterHost)
			c.scenario("a host was away", hostWasAway)
		})
	}
}

// TestEmptiedEtcd: a store that lost everything removes nothing.
func TestEmptiedEtcd(t *testing.T) {
	onMixed(t, 2, func(c *cluster) { c.scenario("emptied etcd", emptiedEtcd) })
}

func removedAnywhere(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	for i, h := range []*lab.Host{h1, h2} { // its maker, and another
		name := fmt.Sprintf("lan%d", i)
		c.network(h1, name, "--subnet", "10.120.0.0/24", "-o", "parent=eth1")
		h.MustDocker(c.t, "network", "rm", name)
		c.waitNoNetwork(h1, name)
		c.waitNoNetwork(h2, name)
		c.waitUndefined(name)
	}
	// The name is free for another network.
	c.network(h2, "lan0", "--subnet", "10.121.0.0/24", "-o", "parent=eth1")
	c.run(h1, "lan0", "web", "--ip", "10.121.0.9")
}

// anotherAtOnce is what `docker compose down` and `up` do with an edited file.
func anotherAtOnce(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.128.0.0/24", "-o", "parent=eth1")
	h1.MustDocker(c.t, "network", "rm", "lan1")
	c.create(h1, "lan1", "--subnet", "10.129.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	for _, h := range c.Hosts {
		c.sameAsDefined(h, "lan1")
	}
	c.run(h2, "lan1", "db")
	c.reaches(h2, "db", web)
}

func usedElsewhere(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.122.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	c.waitRefs(h1, "web")
	id := c.networkID(h2, "lan1")
	h2.MustDocker(c.t, "network", "rm", "lan1")
	c.waitBack(h2, "lan1", id)
	c.logged(1, "brought the network back", "containers on node h1: web")
	c.run(h2, "lan1", "api")
	c.reaches(h2, "api", web)
}

func usedByStoppedElsewhere(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.123.0.0/24", "-o", "parent=eth1")
	c.run(h1, "lan1", "web", "--ip", "10.123.0.50")
	h1.MustDocker(c.t, "stop", "web")
	c.waitRefs(h1, "web")
	id := c.networkID(h2, "lan1")
	h2.MustDocker(c.t, "network", "rm", "lan1")
	c.waitBack(h2, "lan1", id)
	h1.MustDocker(c.t, "start", "web")
	c.oneOwner(netip.MustParseAddr("10.123.0.50"), h1)
}

// usedByStoppedHere: Docker lets the network go and would never start the
// container again, since it knows it by the old id.
func usedByStoppedHere(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.124.0.0/24", "--ipv6", "--subnet", "fd24::/64", "-o", "parent=eth1")
	c.run(h1, "lan1", "web", "--ip", "10.124.0.50", "--ip6", "fd24::50", "--network-alias", "www")
	c.run(h1, "lan1", "any")
	c.run(h1, "lan1", "own", "--mac-address", "02:11:22:33:44:55")
	macs := map[string]string{"own": "02:11:22:33:44:55", "second": ""}
	c.network(h1, "lan2", "--subnet", "10.126.0.0/24", "-o", "parent=eth1")
	if engine := h1.MustDocker(c.t, "version", "-f", "{{.Server.Version}}"); !strings.HasPrefix(engine, "20.") { // older engines know one MAC per container
		macs["second"] = "02:11:22:33:44:66"
		h1.MustDocker(c.t, "run", "-d", "--stop-signal", "KILL", "--network", "lan2", "--network", "name=lan1,mac-address="+macs["second"], "--name", "second", "busybox", "sleep", "100000")
	} else {
		macs["second"] = "02:11:22:33:44:77"
		c.run(h1, "lan2", "second")
		h1.MustDocker(c.t, "network", "connect", "--driver-opt", "com.docker.network.endpoint.macaddress="+macs["second"], "lan1", "second")
	}
	for name, mac := range macs {
		if e := c.inspect(h1, "lan1", name); e.MacAddress != mac {
			c.t.Errorf("%s has the MAC %s, want the one it asked for, %s", name, e.MacAddress, mac)
		}
	}
	c.audit()
	h1.MustDocker(c.t, "stop", "web", "any", "own", "second")
	id := c.networkID(h1, "lan1")
	h1.MustDocker(c.t, "network", "rm", "lan1")
	c.waitBack(h1, "lan1", id)
	eventually(c.t, "stopped containers to start again", func() error {
		_, err := h1.Docker(c.t.Context(), "start", "web", "any", "own", "second")
		return err
	})
	for name, mac := range macs {
		if e := c.inspect(h1, "lan1", name); e.MacAddress != mac {
			c.t.Errorf("%s came back with the MAC %s, want its own %s", name, e.MacAddress, mac)
		}
	}
	if e := c.inspect(h1, "lan1", "web"); e.IPAddress != "10.124.0.50" || e.GlobalIPv6Address != "fd24::50" {
		c.t.Errorf("web came back with %+v, want its own addresses", e)
	}
	aliases := h1.MustDocker(c.t, "inspect", "-f", `{{json (index .NetworkSettings.Networks "lan1").Aliases}}`, "web")
	if !slices.Contains(fieldsOf(aliases), "www") {
		c.t.Errorf("web came back with the aliases %s, want www among them", aliases)
	}
	c.run(h2, "lan1", "api")
	c.reaches(h2, "api", netip.MustParseAddr("10.124.0.50"))
}

// namesLikePaths: a network whose name ends like another's path takes nothing
// from it, on no host, and `gvlan network` knows each by its own name.
func namesLikePaths(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan", "--subnet", "10.127.0.0/24", "-o", "parent=eth1")
	ids := []string{c.networkID(h1, "lan"), c.networkID(h2, "lan")}
	others := []string{"prod/lan", "..", "50%2F"}
	for i, name := range others {
		c.network(h1, name, "--subnet", fmt.Sprintf("10.127.%d.0/24", i+1), "-o", "parent=eth1")
		c.says(c.gvlan(h2, "network", "inspect", name), "network "+name+" (")
	}
	web := c.run(h1, "lan", "web")
	api := c.run(h1, "prod/lan", "api")
	c.run(h2, "lan", "near")
	c.run(h2, "prod/lan", "far")
	c.reaches(h2, "near", web)
	c.reaches(h2, "far", api)
	h2.MustDocker(c.t, "exec", "far", "ping", "-c", "1", "-w", "10", "api")
	for _, h := range c.Hosts {
		h.MustDocker(c.t, "rm", "-f", map[*lab.Host]string{h1: "api", h2: "far"}[h])
	}
	for _, name := range others {
		eventually(c.t, "nobody to use "+name, func() error {
			_, err := h2.Exec(c.t.Context(), c.binary, "network", "rm", name)
			return err
		})
		c.waitNoNetwork(h1, name)
		c.waitUndefined(name)
	}
	if now := []string{c.networkID(h1, "lan"), c.networkID(h2, "lan")}; !slices.Equal(now, ids) {
		c.t.Errorf("lan was made again as %v, want %v left alone", now, ids)
	}
	c.reaches(h2, "near", web)
}

// pruned: a quiet host's nightly prune takes no network from the cluster.
func pruned(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.125.0.0/24", "-o", "parent=eth1")
	c.network(h1, "lan2", "--subnet", "10.126.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	one, two := c.networkID(h2, "lan1"), c.networkID(h2, "lan2")
	h2.MustDocker(c.t, "network", "prune", "-f")
	c.waitBack(h2, "lan1", one)
	c.waitBack(h2, "lan2", two)
	one, two = c.networkID(h2, "lan1"), c.networkID(h2, "lan2")
	h2.MustDocker(c.t, "system", "prune", "-f")
	c.waitBack(h2, "lan1", one)
	c.waitBack(h2, "lan2", two)
	for _, h := range c.Hosts {
		for _, name := range []string{"lan1", "lan2"} {
			c.waitNetwork(h, name)
		}
	}
	c.run(h2, "lan1", "api")
	c.reaches(h2, "api", web)
}

// laterHost: the third host's agent starts for the first time when networks
// are there already.
func laterHost(c *cluster) {
	h1, h3 := c.Hosts[0], c.Hosts[2]
	create := func(name string, flags ...string) {
		h1.MustDocker(c.t, append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", name}, flags...)...)
		c.waitNetwork(h1, name)
	}
	create("lan1", "--subnet", "10.127.0.0/24", "--gateway", "10.127.0.254", "--ip-range", "10.127.0.64/26",
		"--aux-address", "nas=10.127.0.70", "--label", "team=a", "-o", "parent=eth1")
	create("lan2", "--subnet", "10.128.0.0/24", "--ipv6", "--subnet", "fd28::/64", "-o", "parent=eth7, eth1")
	web := c.run(h1, "lan1", "web")
	c.agents[2] = c.startAgent(h3)
	c.waitTrusted(h3)
	c.waitNetwork(h3, "lan1")
	c.waitNetwork(h3, "lan2")
	api := c.run(h3, "lan1", "api")
	c.reaches(h3, "api", web)
	if !netip.MustParsePrefix("10.127.0.64/26").Contains(api) || api == netip.MustParseAddr("10.127.0.70") {
		c.t.Errorf("api has %s, want one of the range that is not nas", api)
	}
	c.wantRoutes(h3, "api", "10.127.0.254", "")
	if label := h3.MustDocker(c.t, "network", "inspect", "-f", "{{.Labels.team}}", "lan1"); label != "a" {
		c.t.Errorf("label team on h3 is %q, want a", label)
	}
	c.run(h3, "lan2", "six")
	c.wantRoutes(h3, "six", "10.128.0.1", "fd28::1")
}

// hostWasAway: while an agent is away one network is removed, another made.
func hostWasAway(c *cluster) {
	h1, h3 := c.Hosts[0], c.Hosts[2]
	c.network(h1, "old", "--subnet", "10.129.0.0/24", "-o", "parent=eth1")
	c.network(h1, "kept", "--subnet", "10.130.0.0/24", "-o", "parent=eth1")
	if err := c.agents[2].Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	h1.MustDocker(c.t, "network", "rm", "old")
	c.waitUndefined("old")
	h1.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.131.0.0/24", "-o", "parent=eth1", "new")
	c.waitNetwork(h1, "new")
	c.startAgain(2)
	c.waitNoNetwork(h3, "old")
	c.waitNetwork(h3, "new")
	c.waitNetwork(h3, "kept")
	c.run(h3, "new", "web")
}

// emptiedEtcd: agents take an empty store for a loss, not for an order.
func emptiedEtcd(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.132.0.0/24", "-o", "parent=eth1")
	c.network(h1, "idle", "--subnet", "10.133.0.0/24", "-o", "parent=eth1")
	web, api := c.run(h1, "lan1", "web"), c.run(h2, "lan1", "api")
	for range 2 { // the second takes the first one's place before anybody accepted that
		c.emptyEtcd()
		eventually(c.t, "the leases to be written again", func() error {
			for _, addr := range []netip.Addr{web, api} {
				if !slices.ContainsFunc(c.list(store.AllLeasesSpan()), func(it store.Item) bool {
					_, leased, err := store.LeaseOf(it.Key)
					return err == nil && leased == addr
				}) {
					return fmt.Errorf("that of %s is not there", addr)
				}
			}
			return nil
		})
	}
	for i, h := range c.Hosts {
		c.logged(i, "gvlan recover")
		c.refused(h, "gvlan recover", "run", "--rm", "--network", "lan1", "busybox", "true")
		c.stillThere(h, "lan1", "idle")
	}
	c.reaches(h1, "web", api)
	h2.MustExec(c.t, c.binary, "recover") // once, for all
	for _, h := range c.Hosts {
		c.waitTrusted(h)
	}
	eventually(c.t, "the networks to be defined again", func() error {
		r, err := c.records()
		if err == nil && len(r.networks) != 2 {
			err = fmt.Errorf("etcd has %v", r.networks)
		}
		return err
	})
	for _, h := range c.Hosts {
		c.waitNetwork(h, "lan1")
		c.waitNetwork(h, "idle")
	}
	c.audit()
	c.refused(h2, "in use by container web on node h1", "run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")
	c.run(h2, "idle", "new")
}

// emptyEtcd puts an empty etcd in the place of the cluster's.
func (c *cluster) emptyEtcd() {
	c.t.Helper()
	if err := c.etcd.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := c.etcd.Wipe(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.etcd.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// stillThere compares the networks a host has.
func (c *cluster) stillThere(h *lab.Host, want ...string) {
	c.t.Helper()
	got := c.networks(h)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Errorf("%s has networks %v, want %v", h.Name, got, want)
	}
}

// networkID is the engine's id of a network.
func (c *cluster) networkID(h *lab.Host, name string) string {
	c.t.Helper()
	return must(c.engineNetwork(h, name))(c.t).ID
}

// waitBack waits until a host has the network under another id than before.
func (c *cluster) waitBack(h *lab.Host, name, before string) {
	c.t.Helper()
	eventually(c.t, name+" to come back on "+h.Name, func() error {
		now, err := c.engineNetwork(h, name)
		if err == nil && now.ID == before {
			err = fmt.Errorf("it is there as before")
		}
		return err
	})
	c.waitNetwork(h, name)
}

// waitUndefined waits until etcd has no network of that name.
func (c *cluster) waitUndefined(name string) {
	c.t.Helper()
	eventually(c.t, "etcd to have no network "+name, func() error {
		r, err := c.records()
		if err == nil && slices.Contains(r.networks, name) {
			err = fmt.Errorf("it has %v", r.networks)
		}
		return err
	})
}
