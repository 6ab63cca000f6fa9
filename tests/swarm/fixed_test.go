package swarm_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// The fixed addresses of these tests.
var (
	fixed4   = netip.MustParseAddr("10.88.0.50")
	fixed6   = netip.MustParseAddr("fd88::50")
	sooner   = netip.MustParseAddr("10.88.0.51") // of the service with a failover
	evicted  = netip.MustParseAddr("10.88.0.52") // of the one without
	byRange  = netip.MustParseAddr("10.89.0.10") // of one whose network has this address alone
	stacked  = netip.MustParseAddr("10.88.0.53") // of one of a stack file
	attached = netip.MustParseAddr("10.88.0.54") // of a container that is no task
)

// TestFixedAddress moves the fixed addresses of services in every way there is,
// while a watcher on the LAN sees who answers for them: beside TestSwarm, one engine
// after the other.
func TestFixedAddress(t *testing.T) {
	t.Parallel()
	for _, release := range lab.Engines(lab.Docker20, lab.Docker28) {
		t.Run(string(release), func(t *testing.T) {
			c := newCluster(t, release)
			c.network("lan", "10.88.0.0/24", "--gateway", "10.88.0.254", "--ip-range", "10.88.0.128/25",
				"--ipv6", "--subnet", "fd88::/64", "-o", parents)
			w := c.LAN.Watch(t, fixed4, fixed6, sooner, evicted, byRange)
			for _, h := range c.Hosts {
				h.MustDocker(t, "run", "-d", "--stop-signal", "KILL", "--network", "lan", "--name", "client-"+h.Name, "busybox", "sleep", "100000")
			}
			c.scenario("refused", fixedRefused)
			c.scenario("begun", fixedBegun)
			c.scenario("updated, one stops first", func(c *cluster) {
				c.moves("web", w, fixed4, func() { c.update("web", "--force", "--update-order", "stop-first") })
			})
			c.scenario("updated, one starts first", func(c *cluster) {
				c.moves("web", w, fixed4, func() { c.update("web", "--force", "--update-order", "start-first") })
			})
			c.scenario("killed", func(c *cluster) {
				c.moves("web", w, fixed4, func() {
					x := c.holder(fixed4, "web")
					x.host.MustDocker(c.t, "kill", x.name)
				})
			})
			c.scenario("drained", func(c *cluster) {
				from := c.holder(fixed4, "web").host
				c.moves("web", w, fixed4, func() { c.availability("drain", from) })
				c.availability("active", from)
			})
			c.scenario("two tasks", func(c *cluster) { fixedWaits(c, w) })
			c.scenario("no task of the swarm", fixedAttached)
			c.scenario("stack file", func(c *cluster) { fixedStack(c, release) })
			c.scenario("host dies", func(c *cluster) { fixedHostDies(c, w) })
			c.scenario("nothing is left", fixedNothingLeft)
			seen := w.Stop(t)
			for _, addr := range []netip.Addr{fixed4, fixed6, sooner, evicted, byRange} {
				if err := seen.OneHolder(addr); err != nil {
					t.Error(err)
				}
				for _, gap := range seen.Handovers(addr) {
					t.Logf("BENCH %s-gap %s", addr, gap)
				}
			}
		})
	}
}

// holder waits until a task of a service has an address, in etcd and in its
// sandbox, and on the LAN.
func (c *cluster) holder(addr netip.Addr, service string) (holder container) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%s to be of a task of %s", addr, service), func() error {
		got, err := c.store.Get(c.t.Context(), prefix+store.LeaseKey("default", addr))
		if err != nil {
			return err
		}
		if len(got.Kvs) == 0 {
			return told(func() string { return "nobody has it:\n" + c.shown() })
		}
		l, err := readLease(got.Kvs[0].Key, got.Kvs[0].Value)
		if err != nil || l.Kind != store.Service || l.Claims != nil {
			return fmt.Errorf("it is %+v, %w", l, err)
		}
		all, err := c.containers()
		if err != nil {
			return err
		}
		on := slices.IndexFunc(all, func(x container) bool { return x.service == service && x.endpoint == l.Endpoint })
		if on < 0 {
			return fmt.Errorf("it is endpoint %.12s's on %s, and %s runs as %v", l.Endpoint, l.Node, service, all)
		}
		holder = all[on]
		shown, err := holder.host.Docker(c.t.Context(), "exec", holder.name, "ip", "address", "show")
		if err == nil && !strings.Contains(shown, addr.String()+"/") {
			err = fmt.Errorf("%s has %s", holder.name, shown)
		}
		return err
	})
	return holder
}

// moves plays something after which another container of a service has its
// address.
func (c *cluster) moves(service string, w *lab.Watcher, addr netip.Addr, play func()) {
	c.t.Helper()
	c.moved(service, w, addr, play)
	c.runs(service, 1)
	c.reached(addr)
}

// reached pings an address from a container of every host that is up.
func (c *cluster) reached(addr netip.Addr) {
	c.t.Helper()
	for _, h := range c.Hosts {
		if !c.down[h] {
			h.MustDocker(c.t, "exec", "client-"+h.Name, "ping", "-c", "1", "-w", "10", addr.String())
		}
	}
}

// runs is settled on a network of both families, of which the engines do not tell
// everything the same way.
func (c *cluster) runs(service string, replicas int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("service %s with %d tasks", service, replicas), func() error {
		all, err := c.containers()
		all = slices.DeleteFunc(all, func(x container) bool { return x.service != service })
		if err == nil && len(all) != replicas {
			err = fmt.Errorf("%v run", all)
		}
		return err
	})
}

// client is the container on a host that asks.
func (c *cluster) client(h *lab.Host) container { return container{host: h, name: "client-" + h.Name} }

// fixedService makes a service with fixed addresses.
func (c *cluster) fixedService(name, addrs string, flags ...string) {
	c.t.Helper()
	network := fmt.Sprintf(`name=lan,"driver-opt=gvlan.ip=%s"`, addrs)
	c.service(name, network, 1, append([]string{"--endpoint-mode", "dnsrr"}, flags...)...)
}

// fixedRefused: what no container can have is refused when it starts.
func fixedRefused(c *cluster) {
	for addr, want := range map[string]string{
		"10.88.0.254": "the gateway of network lan",
		"10.99.0.1":   "lies in no subnet of network lan",
		"10.88.0.255": "the broadcast address",
		"web":         "give one like 192.168.1.50",
	} {
		_, err := c.Hosts[0].Docker(c.t.Context(), "run", "--rm", "--network", "name=lan,driver-opt=gvlan.ip="+addr, "busybox", "true")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "gvlan.ip") {
			c.t.Errorf("gvlan.ip=%s: %v, want an error that says %q", addr, err, want)
		}
	}
}

// fixedBegun: address, names, and what is said of it.
func fixedBegun(c *cluster) {
	c.fixedService("web", fixed4.String()+","+fixed6.String())
	c.runs("web", 1)
	x := c.holder(fixed4, "web")
	c.holder(fixed6, "web")
	c.reached(fixed4)
	c.reached(fixed6)
	if out := x.host.MustDocker(c.t, "exec", x.name, "ip", "route", "get", c.Hosts[0].Addr4.String()); !strings.Contains(out, "src "+x.addr.String()) {
		c.t.Errorf("the task speaks as %q, want as %s", out, x.addr)
	}
	from := c.client(c.Hosts[1])
	c.named(from, "web", fixed4.String(), fixed6.String())
	c.named(from, "tasks.web", slices.Concat([]string{x.addr.String()}, c.six(x))...)
	out, err := c.Hosts[2].Exec(c.t.Context(), c.binary, "lease", "ls", "--swarm", "--json")
	if err != nil {
		c.t.Fatal(err)
	}
	var listed []struct{ Address, Container, Kind string }
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	for _, l := range listed {
		if l.Address == fixed4.String() && l.Container == x.name {
			return
		}
	}
	c.t.Errorf("gvlan lease ls shows %s, want %s of %s", out, fixed4, x.name)
}

// six are a container's own IPv6 addresses, as the engine has them.
func (c *cluster) six(x container) []string {
	c.t.Helper()
	out := x.host.MustDocker(c.t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}} {{end}}", x.name)
	return strings.Fields(out)
}

// fixedWaits: of two tasks one has the address, and the other takes over.
func fixedWaits(c *cluster, w *lab.Watcher) {
	first := c.holder(fixed4, "web")
	c.scale("web", 2)
	c.runs("web", 2)
	from := c.client(first.host)
	c.named(from, "web", fixed4.String(), fixed6.String())
	if now := c.holder(fixed4, "web"); now.endpoint != first.endpoint {
		c.t.Errorf("%s has the address, want %s, which had it", now.name, first.name)
	}
	c.moved("web", w, fixed4, func() { first.host.MustDocker(c.t, "kill", first.name) })
	c.runs("web", 2)
	c.scale("web", 1)
	c.runs("web", 1)
	c.holder(fixed4, "web")
}

// moved is moves for a service of any number of tasks.
func (c *cluster) moved(service string, w *lab.Watcher, addr netip.Addr, play func()) {
	c.t.Helper()
	before := c.holder(addr, service)
	play()
	eventually(c.t, "the address to move", func() error {
		if now := c.holder(addr, service); now.endpoint == before.endpoint {
			return fmt.Errorf("%s has it", now.name)
		}
		return nil
	})
	if err := w.Await(c.t.Context(), addr, c.holder(addr, service).host.Machine); err != nil {
		c.t.Fatal(err)
	}
}

// fixedAttached: a container that docker run made, and one that was connected.
func fixedAttached(c *cluster) {
	h := c.Hosts[0]
	h.MustDocker(c.t, "run", "-d", "--stop-signal", "KILL", "--network", "name=lan,driver-opt=gvlan.ip="+attached.String(), "--name", "db", "busybox", "sleep", "100000")
	c.reached(attached)
	other := c.Hosts[1]
	other.MustDocker(c.t, "run", "-d", "--stop-signal", "KILL", "--name", "db2", "busybox", "sleep", "100000")
	other.MustDocker(c.t, "network", "connect", "--driver-opt", "gvlan.ip="+attached.String(), "lan", "db2")
	eventually(c.t, "a hint on "+other.Name, func() error {
		s, err := c.status(other, "--swarm")
		if err == nil && !slices.ContainsFunc(s.Hints, func(hint string) bool {
			return strings.Contains(hint, "container db2 waits for its fixed address "+attached.String()+": in use by container db on node h1")
		}) {
			err = fmt.Errorf("hints %q", s.Hints)
		}
		return err
	})
	h.MustDocker(c.t, "rm", "-f", "db")
	eventually(c.t, "db2 to have the address", func() error {
		_, err := other.Docker(c.t.Context(), "exec", "db2", "sh", "-c", "ip address show | grep -q "+attached.String()+"/")
		return err
	})
	c.reached(attached)
	other.MustDocker(c.t, "rm", "-f", "db2")
}

// fixedStack: a stack file says it as compose files do, where the docker program
// reads such a file: that of 20.10 does not.
func fixedStack(c *cluster, release lab.Release) {
	const text = `version: "3.13"
services:
  front:
    image: busybox
    command: sleep 100000
    stop_signal: KILL
    deploy: {endpoint_mode: dnsrr}
    networks:
      lan: {driver_opts: {gvlan.ip: 10.88.0.53}}
networks:
  lan: {external: true}
`
	if err := c.ask.WriteFile("/tmp/stack.yml", []byte(text)); err != nil {
		c.t.Fatal(err)
	}
	_, err := c.ask.Docker(c.t.Context(), "stack", "deploy", "--resolve-image", "never", "-c", "/tmp/stack.yml", "shop")
	if release == lab.Docker20 {
		if err == nil {
			c.t.Error("docker 20.10 takes driver_opts in a stack file: README says that it does not")
		}
		return
	}
	if err != nil {
		c.t.Fatal(err)
	}
	x := c.holder(stacked, "shop_front")
	c.reached(stacked)
	c.named(c.client(x.host), "shop_front", append([]string{stacked.String()}, c.six(x)...)...)
	c.ask.MustDocker(c.t, "stack", "rm", "shop")
	eventually(c.t, "the address to be free", func() error {
		got, err := c.store.Get(c.t.Context(), prefix+store.LeaseKey("default", stacked))
		if err == nil && len(got.Kvs) > 0 {
			err = fmt.Errorf("it is %q", got.Kvs[0].Value)
		}
		return err
	})
}

// fixedHostDies: what a dead host had is free after an eviction and its rest, and
// with a failover as soon as the LAN was silent for long enough. So is the address of
// a service whose network has a range of one.
func fixedHostDies(c *cluster, w *lab.Watcher) {
	dies := c.Hosts[2]
	if leader := c.leader(); leader == dies { // a leader is chosen anew when it dies, which takes its time
		dies = c.Hosts[1]
	}
	c.network("one", "10.89.0.0/24", "--gateway", "10.89.0.254", "--ip-range", byRange.String()+"/32", "-o", parents)
	others := slices.DeleteFunc(slices.Clone(c.Hosts), func(h *lab.Host) bool { return h == dies })
	c.availability("pause", others...)
	c.service("sooner", "name=lan,driver-opt=gvlan.ip="+sooner.String()+",driver-opt=gvlan.failover=10s", 1, "--endpoint-mode", "dnsrr")
	c.fixedService("later", evicted.String())
	c.service("one", "one", 1, "--endpoint-mode", "dnsrr")
	c.holder(sooner, "sooner")
	c.holder(evicted, "later")
	c.runs("one", 1)
	c.availability("active", others...)
	if c.ask == dies {
		c.ask = c.Hosts[0]
	}
	if err := dies.Crash(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := c.LAN.Cut(dies.Machine); err != nil { // the containers' namespaces outlive the processes in them
		c.t.Fatal(err)
	}
	c.down[dies] = true
	if x := c.holder(sooner, "sooner"); x.host == dies {
		c.t.Fatalf("%s has it", x.name)
	}
	c.reached(sooner)
	got := must(c.store.Get(c.t.Context(), prefix+store.LeaseKey("default", evicted)))(c.t)
	if len(got.Kvs) != 1 || must(readLease(got.Kvs[0].Key, got.Kvs[0].Value))(c.t).Node != dies.Name+".swarm" {
		c.t.Errorf("%s is %v without an eviction, want it the dead host's", evicted, got.Kvs)
	}
	c.Hosts[0].MustExec(c.t, c.binary, "node", "evict", "--swarm", dies.Name)
	// Ten minutes end as etcd ends them.
	rest := prefix + store.RestKey(dies.Name+".swarm")
	if _, err := c.store.Delete(c.t.Context(), rest, clientv3.WithPrefix()); err != nil {
		c.t.Fatal(err)
	}
	c.holder(evicted, "later")
	c.reached(evicted)
	// The swarm keeps the address of a dead node's task for that task.
	c.ask.MustDocker(c.t, "node", "demote", dies.Name)
	c.ask.MustDocker(c.t, "node", "rm", "--force", dies.Name)
	c.runs("one", 1)
	one := c.tasksOf("one")[0]
	if one.host == dies || one.addr != byRange {
		c.t.Errorf("the task of the network with one address has %s on %s", one.addr, one.host.Name)
	}
	if err := w.Await(c.t.Context(), byRange, one.host.Machine); err != nil {
		c.t.Fatal(err)
	}
}

// fixedNothingLeft: with the services go their addresses.
func fixedNothingLeft(c *cluster) {
	c.ask.MustDocker(c.t, "service", "rm", "web", "sooner", "later", "one")
	for _, h := range c.Hosts {
		if !c.down[h] {
			h.MustDocker(c.t, "rm", "-f", "client-"+h.Name)
		}
	}
	eventually(c.t, "the leases to go", func() error {
		all, err := c.leases(c.t.Context())
		if err == nil && slices.ContainsFunc(all, func(l lease) bool { return l.Kind == store.Service }) {
			err = fmt.Errorf("etcd has %+v", all)
		}
		return err
	})
}
