package swarm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// parents is what the network of these tests says: h1 and h2 have an eth1,
// h3 has a nic3.
const parents = "parent=nic3, eth1"

// TestSwarm plays the life of a swarm on one lab per engine. All the time a
// guard looks for an address with two holders.
func TestSwarm(t *testing.T) {
	t.Parallel()
	for _, release := range lab.Engines(lab.Docker20, lab.Docker28) {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, release)
			g := c.guard()
			c.scenario("service on every node", serviceEverywhere)
			c.scenario("names of services", namesOfServices)
			c.scenario("attached containers", attachedContainers)
			c.scenario("service with a virtual address", virtualAddress)
			c.scenario("rolling update", rollingUpdate)
			c.scenario("scaled up and down", scaledUpAndDown)
			c.scenario("node drained", nodeDrained)
			c.scenario("plugin upgraded", pluginUpgraded)
			c.scenario("parent file", parentFile)
			c.scenario("aux address", auxAddress)
			c.scenario("stack deployed and removed", stackDeployed)
			c.scenario("socket agent beside", socketAgentBeside)
			c.scenario("leader killed", leaderKilled)
			c.scenario("node killed and back", nodeKilled)
			c.scenario("guard sees a double holder", func(c *cluster) { doubleHolder(c, g) })
			c.scenario("nothing is left", nothingLeft)
			g.end(t)
			c.scenario("README's quick start", quickStart)
		})
	}
}

// serviceEverywhere: made once on a manager, 12 tasks on three nodes, every
// worker with the network's options and its own parent.
func serviceEverywhere(c *cluster) {
	c.network("lan", "10.88.0.0/24", "--gateway", "10.88.0.254", "--ipam-opt", "exclude=10.88.0.1-10.88.0.9", "-o", parents)
	c.service("web", "lan", 12, "--endpoint-mode", "dnsrr")
	c.settled("web", 12)
	tasks := c.tasksOf("web")
	one := map[*lab.Host]container{}
	for _, x := range tasks {
		one[x.host] = x
		if low := netip.MustParseAddr("10.88.0.10"); x.addr.Less(low) {
			c.t.Errorf("%s has %s, which is excluded", x.name, x.addr)
		}
	}
	if len(tasks) != 12 || len(one) != 3 {
		c.t.Fatalf("%d tasks on %d nodes, want 12 on 3", len(tasks), len(one))
	}
	for from := range maps.Values(one) {
		for to := range maps.Values(one) {
			c.reaches(from, to.addr.String())
		}
		c.reaches(from, "web")
	}
	for _, x := range tasks {
		if err := c.owned(x); err != nil {
			c.t.Error(err)
		}
	}
	for h, card := range map[*lab.Host]string{c.Hosts[0]: "eth1", c.Hosts[1]: "eth1", c.Hosts[2]: "nic3"} {
		c.hasNetwork(h, card)
	}
}

// hasNetwork asserts what arrived on a worker.
func (c *cluster) hasNetwork(h *lab.Host, card string) {
	c.t.Helper()
	options := h.MustDocker(c.t, "network", "inspect", "-f", "{{.Options.parent}}|{{json .IPAM}}", "lan")
	said, ipam, _ := strings.Cut(options, "|")
	var got struct {
		Driver  string
		Options map[string]string
		Config  []struct{ Subnet, Gateway string }
	}
	if err := json.Unmarshal([]byte(ipam), &got); err != nil {
		c.t.Fatal(err)
	}
	if "parent="+said != parents || got.Driver != alias || len(got.Config) != 1 || got.Config[0].Subnet != "10.88.0.0/24" || got.Config[0].Gateway != "10.88.0.254" {
		c.t.Errorf("the engine of %s shows parent %q and %+v", h.Name, said, got)
	}
	s := must(c.status(h, "--swarm"))(c.t)
	for _, n := range s.Networks {
		if n.Name == "lan" && n.Scope == "swarm" && n.Parent == card && n.Endpoints > 0 {
			return
		}
	}
	c.t.Errorf("the plugin of %s shows %+v, want lan of the swarm on %s with endpoints", h.Name, s.Networks, card)
}

// attachedContainers: docker run on any node, with and without --ip.
func attachedContainers(c *cluster) {
	run := func(h *lab.Host, name string, flags ...string) container {
		args := append([]string{"run", "-d", "--stop-signal", "KILL", "--network", "lan", "--name", name}, flags...)
		h.MustDocker(c.t, append(args, "busybox", "sleep", "100000")...)
		all := must(c.containersOn(h))(c.t)
		return all[slices.IndexFunc(all, func(x container) bool { return x.name == name })]
	}
	db := run(c.Hosts[1], "db")
	fixed := run(c.Hosts[2], "fixed", "--ip", "10.88.0.99")
	c.audit()
	if fixed.addr != netip.MustParseAddr("10.88.0.99") {
		c.t.Errorf("fixed has %s, want its --ip", fixed.addr)
	}
	c.reaches(db, fixed.addr.String())
	c.reaches(c.tasksOf("web")[0], db.addr.String())
	c.reaches(fixed, "db")
	if err := c.owned(db); err != nil {
		c.t.Error(err)
	}
	_, err := c.Hosts[0].Docker(c.t.Context(), "run", "--rm", "--network", "lan", "--ip", "10.88.0.99", "busybox", "true")
	if err == nil {
		c.t.Error("a second container got --ip 10.88.0.99")
	}
	c.Hosts[2].MustDocker(c.t, "rm", "-f", "fixed")
	c.audit()
}

// virtualAddress: whoever forgets dnsrr is told.
func virtualAddress(c *cluster) {
	for _, h := range c.Hosts {
		if out, err := h.Exec(c.t.Context(), c.binary, "doctor", "-q", "--swarm"); err != nil {
			c.t.Errorf("gvlan doctor on %s, where nothing is wrong yet: %v\n%s", h.Name, err, out)
		}
	}
	c.service("vip", "lan", 1)
	c.settled("vip", 1)
	for _, h := range c.Hosts[:1] {
		c.warns(h, "service vip has the virtual address 10.88.0.", "--swarm")
		c.logged(h, "service vip has the virtual address", "--endpoint-mode dnsrr")
		out, err := h.Command(c.t.Context(), c.binary, "doctor", "-q", "--swarm").Output()
		if want := "fault: services: service vip has a virtual address on network lan\n"; err == nil || !strings.Contains(string(out), want) || strings.Count(string(out), "fault: ") != 1 {
			c.t.Errorf("gvlan doctor on %s finds %q (%v), want %q and no other fault", h.Name, out, err, want)
		}
	}
	c.ask.MustDocker(c.t, "service", "rm", "vip")
	c.audit()
}

func rollingUpdate(c *cluster) {
	before := c.tasksOf("web")
	c.update("web", "--env-add", "ROUND=2")
	c.settled("web", 12)
	for _, x := range c.tasksOf("web") {
		if slices.ContainsFunc(before, func(b container) bool { return b.name == x.name }) {
			c.t.Errorf("%s was not replaced", x.name)
		}
	}
}

func scaledUpAndDown(c *cluster) {
	for round := range rounds() {
		c.scale("web", 4)
		c.settled("web", 4)
		c.scale("web", 12)
		c.settled("web", 12)
		if round%10 == 9 {
			c.t.Logf("round %d of %d", round+1, rounds())
		}
	}
}

// nodeDrained: what runs on a node goes elsewhere and comes back, and the one
// task of a service whose network has a range of one address takes address and
// MAC along: README promises that as the fixed address of a service.
func nodeDrained(c *cluster) {
	h3 := c.Hosts[2]
	fixed := c.fixedOn(h3)
	c.availability("drain", h3)
	c.leftBy(h3)
	c.settled("web", 12)
	c.settled("fixed", 1)
	if moved := c.tasksOf("fixed")[0]; moved.host == h3 || moved.addr != fixed.addr || moved.mac != fixed.mac {
		c.t.Errorf("fixed had %s with %s on %s, and has %s with %s on %s after its node was drained",
			fixed.addr, fixed.mac, h3.Name, moved.addr, moved.mac, moved.host.Name)
	}
	c.ask.MustDocker(c.t, "service", "rm", "fixed")
	c.gone("fixed")
	c.availability("active", h3)
	c.update("web", "--force")
	c.settled("web", 12)
	if all := must(c.containersOn(h3))(c.t); len(all) == 0 {
		c.t.Errorf("%s runs no task after its return", h3.Name)
	}
}

// fixedOn starts the service with a fixed address on that host: no other node
// takes new tasks meanwhile.
func (c *cluster) fixedOn(h *lab.Host) container {
	c.t.Helper()
	const addr = "10.92.0.10"
	c.network("fixed", "10.92.0.0/24", "--gateway", "10.92.0.254", "--ip-range", addr+"/32", "-o", parents)
	others := slices.DeleteFunc(slices.Clone(c.Hosts), func(other *lab.Host) bool { return other == h })
	c.availability("pause", others...)
	c.service("fixed", "fixed", 1, "--endpoint-mode", "dnsrr")
	c.settled("fixed", 1)
	c.availability("active", others...)
	task := c.tasksOf("fixed")[0]
	if task.host != h || task.addr != netip.MustParseAddr(addr) || task.mac == "" {
		c.t.Fatalf("fixed has %s with MAC %q on %s, want %s and a MAC on %s", task.addr, task.mac, task.host.Name, addr, h.Name)
	}
	return task
}

// availability says what the swarm may start on these nodes.
func (c *cluster) availability(word string, nodes ...*lab.Host) {
	c.t.Helper()
	for _, h := range nodes {
		c.ask.MustDocker(c.t, "node", "update", "--availability", word, h.Name)
	}
}

// leftBy waits until a host runs no task.
func (c *cluster) leftBy(h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "the tasks to leave "+h.Name, func() error {
		all, err := c.containersOn(h)
		if err == nil && slices.ContainsFunc(all, func(x container) bool { return x.service == "web" }) {
			err = fmt.Errorf("it runs %d containers", len(all))
		}
		return err
	})
}

// leaderKilled: dockerd of the leader is killed, its containers run on. The
// swarm starts their like elsewhere, and dockerd comes back.
func leaderKilled(c *cluster) {
	leader := c.leader()
	if err := leader.Engine.Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.down[leader] = true
	c.ask = c.Hosts[(slices.Index(c.Hosts, leader)+1)%len(c.Hosts)]
	c.await(leader)
	// Engines forget a change of the service now and then while they replace its tasks.
	c.settled("web", 12)
	c.scale("web", 9)
	c.settled("web", 9)
	if err := leader.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	delete(c.down, leader)
	c.settled("web", 9)
	c.scale("web", 12)
	c.settled("web", 12)
}

// leader is the host whose engine leads the swarm.
func (c *cluster) leader() *lab.Host {
	c.t.Helper()
	for line := range strings.Lines(c.ask.MustDocker(c.t, "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), " Leader"); ok {
			return c.Hosts[slices.IndexFunc(c.Hosts, func(h *lab.Host) bool { return h.Name == name })]
		}
	}
	c.t.Fatal("the swarm has no leader")
	return nil
}

// await waits until the swarm knows that a node is down.
func (c *cluster) await(gone *lab.Host) {
	c.t.Helper()
	eventually(c.t, "the swarm to miss "+gone.Name, func() error {
		state, err := c.ask.Docker(c.t.Context(), "node", "inspect", "-f", "{{.Status.State}}", gone.Name)
		if err == nil && state != "down" {
			err = fmt.Errorf("it is %s", state)
		}
		return err
	})
}

// nodeKilled: every process of a node dies at once. Its addresses stay its
// own until it is back, and are free then.
func nodeKilled(c *cluster) {
	gone := c.Hosts[1]
	if c.ask == gone {
		c.ask = c.Hosts[2]
	}
	if err := gone.Crash(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.down[gone] = true
	c.await(gone)
	c.settled("web", 12)
	if err := gone.Boot(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := gone.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	delete(c.down, gone)
	gone.MustDocker(c.t, "rm", "-f", "db")
	c.settled("web", 12)
}

// doubleHolder plants what the guard looks for.
func doubleHolder(c *cluster, g *guard) {
	g.end(c.t)
	x := c.tasksOf("web")[0]
	other := c.Hosts[(slices.Index(c.Hosts, x.host)+1)%len(c.Hosts)]
	if err := other.AddAddress(netip.PrefixFrom(x.addr, 32)); err != nil {
		c.t.Fatal(err)
	}
	g.sees(c.t)
	g.forget(func() {
		other.MustExec(c.t, "sh", "-c", "ip address del "+x.addr.String()+"/32 dev $(ip -o address show to "+x.addr.String()+" | awk '{print $2}')")
	})
}

// nothingLeft: services and network are removed, and etcd has nothing.
func nothingLeft(c *cluster) {
	c.ask.MustDocker(c.t, "service", "rm", "web")
	eventually(c.t, "the tasks to end", func() error {
		all, err := c.containers()
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("%d run", len(all))
		}
		return err
	})
	c.audit()
	c.gone("lan")
	c.empty()
}
