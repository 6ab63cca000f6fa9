package docker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestDoctor examines hosts: nothing is found on healthy ones, and each of the
// faults that can be planted in one is.
func TestDoctor(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		c.scenario("healthy hosts", doctorHealthy)
		c.scenario("planted faults", doctorFaults)
		c.scenario("an archive for a bug report", supportArchive)
		c.scenario("agent and engine down", doctorDown)
	})
}

// diagnosis is `gvlan doctor --json`.
type diagnosis struct {
	Healthy  bool
	Findings []struct{ Check, Severity, What, Why, Cure string }
	Checks   []struct{ Check, Saw, NotChecked string }
}

// doctor runs the command, which ends with 3 where a fault was found.
func (c *cluster) doctor(h *lab.Host, flags ...string) (d diagnosis) {
	c.t.Helper()
	out, err := h.Command(c.t.Context(), c.binary, append([]string{"doctor", "--json"}, flags...)...).Output()
	status := 0
	if ended, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		status, err = ended.ExitCode(), nil
	}
	if err == nil {
		err = json.Unmarshal(out, &d)
	}
	if err != nil {
		c.t.Fatalf("gvlan doctor on %s: %v\n%s", h.Name, err, out)
	}
	if want := map[bool]int{true: 0, false: 3}[d.Healthy]; status != want {
		c.t.Errorf("gvlan doctor on %s ends with %d, healthy is %t", h.Name, status, d.Healthy)
	}
	return d
}

// wrong is what was found, but for how slow a loaded machine is.
func (d diagnosis) wrong() (all []string) {
	for _, f := range d.Findings {
		if f.Severity == "fault" || !slices.Contains([]string{"disk", "store", "gossip"}, f.Check) {
			all = append(all, f.Check+": "+f.What)
		}
	}
	return all
}

// finds wants one finding of a check with these words.
func (c *cluster) finds(d diagnosis, check, words string) {
	c.t.Helper()
	for _, f := range d.Findings {
		if f.Check == check && strings.Contains(f.What, words) {
			return
		}
	}
	c.t.Errorf("%s does not find %q; found is %+v, seen %+v", check, words, d.Findings, d.Checks)
}

// doctorHealthy: on both hosts, with containers that names can be asked from,
// and everything that this lab has is checked.
func doctorHealthy(c *cluster) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.190.0.0/24", "--ipv6", "--subnet", "fd90::/64", "-o", "parent=eth1")
	for i, h := range c.Hosts {
		c.run(h, "lan1", "web"+h.Name)
		h.MustDocker(c.t, "run", "-d", "--name", "published"+h.Name, "-p", "80", "--stop-signal", "KILL", "busybox", "sleep", "100000")
		if i == 0 {
			c.run(h, "lan1", "more")
		}
	}
	c.audit()
	for _, h := range c.Hosts {
		eventually(c.t, "peers to tell their clocks", func() error {
			d := c.doctor(h)
			for _, check := range d.Checks {
				if check.Check == "clock" && check.NotChecked != "" && !slices.Contains(c.args, "off") {
					return errors.New(check.NotChecked)
				}
			}
			if wrong := d.wrong(); !d.Healthy || len(wrong) > 0 {
				c.t.Errorf("%s is found to have %q", h.Name, wrong)
			}
			for _, check := range d.Checks {
				if check.NotChecked != "" && !slices.Contains([]string{"machine", "routes", "services", "clock", "gossip"}, check.Check) {
					c.t.Errorf("%s was not checked on %s: %s", check.Check, h.Name, check.NotChecked)
				}
			}
			return nil
		})
	}
}

// doctorFaults plants what a host can have, all at once, finds each, and takes
// it away again.
func doctorFaults(c *cluster) {
	h := c.Hosts[0]
	sh := func(script string) { h.MustExec(c.t, "sh", "-ec", script) }
	sh(`ip link add par0 type veth peer name par1; ip link set par0 up; ip link set par1 up
		ip link add par2 type veth peer name par3; ip link set par2 up
		ip link add par4 type veth peer name par5
		ip link add br9 type bridge; ip link set par1 master br9`)
	c.network(h, "lan2", "--subnet", "10.190.1.0/24", "-o", "parent=eth1")
	c.network(h, "lost", "--subnet", "10.191.1.0/24", "-o", "parent=eth77")
	c.network(h, "quiet", "--subnet", "10.191.2.0/24", "-o", "parent=par2")
	c.network(h, "below", "--subnet", "10.191.3.0/24", "-o", "parent=par4")
	c.network(h, "jumbo", "--subnet", "10.191.4.0/24", "-o", "parent=par0", "-o", "mtu=9000")
	c.network(c.Hosts[1], "port", "--subnet", "10.191.5.0/24", "-o", "parent=par1") // where nobody knows that it is a port
	c.run(h, "lan2", "web")
	c.run(h, "lan2", "deaf")
	c.run(h, "lan2", "shop", "-p", "8080:80")
	h.MustDocker(c.t, "run", "-d", "--name", "dnsd", "--network", "host", "--stop-signal", "KILL", "busybox", "nc", "-l", "-p", "53")
	sh(`mkdir -p /var/lib/gvlan/etcd.old /etc/docker/plugins
		touch /run/docker/plugins/gvlan2.sock /var/lib/gvlan/journal.db.damaged-20260101T000000.000Z
		echo tcp://10.0.0.1:9000 > /etc/docker/plugins/gvlan.spec
		iptables -I INPUT -p udp --dport 7947 -j DROP
		iptables -I INPUT -p tcp --dport 7947 -j DROP
		iptables -I OUTPUT -p tcp --dport 7947 -j DROP
		mkdir -p /tmp/plugin/rootfs/bin; touch /tmp/plugin/rootfs/bin/sh
		echo '{"description":"x","entrypoint":["/bin/sh"],"interface":{"types":["docker.networkdriver/1.0"],"socket":"gvlan.sock"},"linux":{"capabilities":null},"network":{"type":"host"}}' > /tmp/plugin/config.json`)
	h.MustDocker(c.t, "plugin", "create", "gvlan", "/tmp/plugin")
	sandbox := h.MustDocker(c.t, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "deaf")
	sh("nsenter --net=" + sandbox + " iptables -A OUTPUT -p udp -d 127.0.0.11 -j DROP")

	d := c.doctor(h)
	if d.Healthy {
		c.t.Error("the host is found healthy")
	}
	for _, want := range []struct{ check, words string }{
		{"parents", "network lost has no usable parent on this host"},
		{"parents", "network port has no usable parent on this host"},
		{"parents", "interface par2, which network quiet hangs from, has no carrier"},
		{"parents", "interface par4, which network below hangs from, is down"},
		{"mtu", "network jumbo has mtu 9000, its parent par0 1500"},
		{"plugin", "a managed plugin is called gvlan:latest"},
		{"plugin", "/etc/docker/plugins/gvlan.spec"},
		{"names", "in container deaf nobody answers for deaf.lan2.gvlan.internal"},
		{"names", "container dnsd (--network host) answers names at port 53"},
		{"published", "container shop publishes 80/tcp"},
		{"leftovers", "/var/lib/gvlan/etcd.old was set aside"},
		{"leftovers", "/var/lib/gvlan/journal.db.damaged-20260101T000000.000Z was set aside"},
		{"leftovers", "nobody answers at the socket /run/docker/plugins/gvlan2.sock"},
	} {
		c.finds(d, want.check, want.words)
	}
	eventually(c.t, "a leftover link to be found before the agent takes it away", func() error {
		sh("ip link show gv-left || { ip link add gv-left link eth1 type macvlan mode bridge; ip link set gv-left alias gvlan:gvlan:macvlan:nobody; }")
		return missing(fmt.Sprint(c.doctor(h).wrong()), []string{"leftovers: link gv-left was made by gvlan and nothing uses it"})
	})
	if !slices.Contains(c.args, "off") {
		c.finds(d, "firewall", "this host's firewall drops TCP 7947 (gossip)")
		c.finds(d, "firewall", "this host's firewall drops UDP 7947 (gossip)")
		eventually(c.t, "the peer to be missed", func() error {
			return missing(fmt.Sprint(c.doctor(h).wrong()), []string{"gossip: h2: connected to the store, but no peer gets an answer"})
		})
	}
	if web := slices.ContainsFunc(d.Findings, func(f struct{ Check, Severity, What, Why, Cure string }) bool {
		return strings.Contains(f.What, "container web ")
	}); web {
		c.t.Errorf("something is found of container web, which is well: %+v", d.Findings)
	}
	h.MustDocker(c.t, "plugin", "rm", "gvlan")
	sh(`rm -r /var/lib/gvlan/etcd.old /etc/docker/plugins/gvlan.spec /run/docker/plugins/gvlan2.sock /var/lib/gvlan/journal.db.damaged-20260101T000000.000Z
		ip link del gv-left || true
		iptables -D INPUT -p udp --dport 7947 -j DROP
		iptables -D INPUT -p tcp --dport 7947 -j DROP
		iptables -D OUTPUT -p tcp --dport 7947 -j DROP`)
	h.MustDocker(c.t, "rm", "-f", "deaf", "shop", "dnsd", "web")
	for _, name := range []string{"lost", "quiet", "below", "jumbo", "port"} {
		h.MustDocker(c.t, "network", "rm", name)
	}
	sh("ip link del par0; ip link del par2; ip link del par4; ip link del br9")
	eventually(c.t, "nothing to be wrong with everything taken away", func() error {
		if wrong := c.doctor(h).wrong(); len(wrong) > 0 {
			return fmt.Errorf("found is %q", wrong)
		}
		return nil
	})
}

// supportArchive: what the cluster has is in the archive, and with --redact none
// of its names is.
func supportArchive(c *cluster) {
	h := c.Hosts[0]
	c.network(h, "payroll", "--subnet", "10.190.3.0/24", "-o", "parent=eth1")
	address := c.run(h, "payroll", "billing", "--network-alias", "invoices")
	c.run(c.Hosts[1], "payroll", "elsewhere")
	names := []string{"payroll", "billing", "invoices", "elsewhere"}
	eventually(c.t, "names of the other host", func() error {
		return missing(c.gvlan(h, "dns", "ls"), names[1:])
	})
	grep := func(flags ...string) string {
		h.MustExec(c.t, "rm", "-rf", "/tmp/archive", "/tmp/archive.tar.gz")
		c.gvlan(h, append([]string{"support", "/tmp/archive.tar.gz"}, flags...)...)
		h.MustExec(c.t, "sh", "-ec", "mkdir /tmp/archive; tar xzf /tmp/archive.tar.gz -C /tmp/archive")
		return h.MustExec(c.t, "sh", "-c", "grep -riE '"+strings.Join(append(names, address.String()), "|")+"' /tmp/archive || true")
	}
	if err := missing(grep(), append(names, address.String())); err != nil {
		c.t.Errorf("the archive: %v", err)
	}
	redacted := grep("--redact")
	for _, name := range names {
		if strings.Contains(strings.ToLower(redacted), name) {
			c.t.Errorf("%s is in the redacted archive:\n%s", name, redacted)
		}
	}
	if err := missing(redacted, []string{address.String()}); err != nil {
		c.t.Errorf("the redacted archive: %v", err)
	}
}

// missing says which words are not in a text.
func missing(text string, words []string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%s is not in\n%s", w, text)
		}
	}
	return nil
}

// doctorDown: what needs neither agent nor engine is found without them.
func doctorDown(c *cluster) {
	h, agent := c.Hosts[0], c.agents[0]
	c.network(h, "lan3", "--subnet", "10.190.2.0/24", "-o", "parent=eth1")
	c.run(h, "lan3", "web")
	if err := agent.Kill(); err != nil {
		c.t.Fatal(err)
	}
	d := c.doctor(h)
	c.finds(d, "agent", "the agent does not answer: no agent answers at /run/gvlan/gvlan.sock")
	c.finds(d, "plugin", "a socket of an agent that is gone is left at /run/docker/plugins/gvlan.sock")
	for _, check := range d.Checks {
		if check.Check == "parents" && check.Saw != "eth1 (lan3)" {
			c.t.Errorf("the parents that are seen without the agent are %q", check.Saw)
		}
	}
	if err := agent.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(h)
	if err := h.Engine.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.finds(c.doctor(h), "engine", "the Docker engine does not answer")
	if err := h.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// TestDoctorOwnStore: a host that is solo, and hosts that keep their store
// themselves, are healthy; a firewall in the way of the store is found, and so
// is a member that is gone.
func TestDoctorOwnStore(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	h := c.Hosts[0]
	healthy := func(when string) {
		for _, h := range c.Hosts {
			if wrong := c.doctor(h).wrong(); len(wrong) > 0 {
				t.Errorf("%s, %s is found to have %q", when, h.Name, wrong)
			}
		}
	}
	healthy("solo")
	c.formed(c.Hosts...)
	healthy("in a cluster")
	h.MustExec(t, "iptables", "-I", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "2379:2381", "-s", c.Hosts[1].Addr4.String(), "-m", "conntrack", "--ctstate", "NEW", "-j", "REJECT")
	c.finds(c.doctor(h), "firewall", "this host's firewall drops TCP 2379 (the store), TCP 2380 (the store), TCP 2381 (the store) from "+c.Hosts[1].Addr4.String())
	h.MustExec(t, "iptables", "-F", "INPUT")
	if err := c.agents[2].Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the member to be missed", func() error {
		for _, f := range c.doctor(h).Findings {
			if f.Check == "store" && strings.Contains(f.What, "the store's member on h3 does not answer") {
				return nil
			}
		}
		return errors.New("it is not")
	})
}
