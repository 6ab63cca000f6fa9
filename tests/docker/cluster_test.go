// Package docker_test drives gvlan the way its users do: plain docker
// commands on real engines that share one LAN, one etcd and the agent's
// static binary. Nothing here looks inside the agent.
package docker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// patience bounds waits for events; no result is judged by it.
const patience = 3 * time.Minute

// both are the engines every scenario runs on.
var both = []lab.Release{lab.Docker20, lab.Docker28}

// cluster is a lab whose hosts run an agent each, on one etcd.
type cluster struct {
	*lab.Lab
	t      *testing.T
	etcd   *lab.Etcd
	agents []*lab.Agent
	binary string   // gvlan, where every machine sees it
	args   []string // of every agent
}

// options bend a cluster.
type options struct {
	hosts []lab.HostOptions
	tls   bool
	args  []string // further arguments of every agent
}

// newCluster starts hosts, etcd and agents.
func newCluster(t *testing.T, o options) *cluster {
	t.Helper()
	c := &cluster{Lab: lab.New(t, lab.Options{Hosts: o.hosts}), t: t}
	c.binary = filepath.Join(c.Dir, "gvlan")
	copyFile(t, must(lab.Build(t.Context(), "gvlan/cmd/gvlan"))(t), c.binary)
	c.startEtcd(o)
	c.args = append(c.args, o.args...)
	for _, h := range c.Hosts {
		c.agents = append(c.agents, c.startAgent(h))
	}
	return c
}

func (c *cluster) startEtcd(o options) {
	c.t.Helper()
	var authority *lab.Authority
	if o.tls {
		authority = must(c.NewAuthority())(c.t)
	}
	c.etcd = must(c.NewEtcd(c.t.Context(), lab.EtcdOptions{TLS: authority}))(c.t)
	c.args = []string{"--etcd-endpoints", c.etcd.Endpoint(), "--log-level", "debug"}
	if o.tls {
		cert := must(authority.Issue("agent"))(c.t)
		c.args = append(c.args, "--etcd-ca", cert.CA, "--etcd-cert", cert.Cert, "--etcd-key", cert.Key)
	}
}

// startAgent starts the agent of one host, under the host's name.
func (c *cluster) startAgent(h *lab.Host) *lab.Agent {
	c.t.Helper()
	args := append([]string{"agent", "--node-name", h.Name}, c.args...)
	return must(h.StartAgent(c.t.Context(), lab.AgentOptions{Binary: c.binary, Args: args}))(c.t)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data := must(os.ReadFile(from))(t)
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// must ends the test when a step that is no claim fails.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// eventually waits for a condition, and fails with its last complaint.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// network makes a network on a host and waits until every host has it.
func (c *cluster) network(h *lab.Host, name string, flags ...string) {
	c.t.Helper()
	args := append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan"}, flags...)
	h.MustDocker(c.t, append(args, name)...)
	for _, other := range c.Hosts {
		c.waitNetwork(other, name)
	}
}

// waitNetwork waits until a host's engine lists the network and its agent
// says that it stands for the definition.
func (c *cluster) waitNetwork(h *lab.Host, name string) {
	c.t.Helper()
	eventually(c.t, name+" on "+h.Name, func() error {
		for _, n := range c.status(h).Networks {
			if n.Name == name && (n.State == "replica" || n.State == "committed") {
				return nil
			}
		}
		return fmt.Errorf("status: %+v", c.status(h).Networks)
	})
}

// waitNoNetwork waits until a host's engine does not list the network.
func (c *cluster) waitNoNetwork(h *lab.Host, name string) {
	c.t.Helper()
	eventually(c.t, "the end of "+name+" on "+h.Name, func() error {
		if names := c.networks(h); slices.Contains(names, name) {
			return fmt.Errorf("it lists %v", names)
		}
		return nil
	})
}

// networks lists the names of a host's gvlan networks.
func (c *cluster) networks(h *lab.Host) []string {
	c.t.Helper()
	return strings.Fields(h.MustDocker(c.t, "network", "ls", "--filter", "driver=gvlan", "--format", "{{.Name}}"))
}

// status is what the agent of a host says.
type status struct {
	Networks []struct {
		Name, UUID, Scope, State, Parent, Why string
		Endpoints                             int
	}
	Etcd            struct{ Trusted bool }
	PendingReleases int `json:"pending_releases"`
}

// status asks a host's agent; the zero status while it does not answer.
func (c *cluster) status(h *lab.Host) (s status) {
	c.t.Helper()
	out, err := h.Exec(c.t.Context(), c.binary, "status", "--json")
	if err != nil {
		return status{}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		c.t.Fatalf("status of %s: %v in %q", h.Name, err, out)
	}
	return s
}

// run starts a container that sleeps and returns its address.
func (c *cluster) run(h *lab.Host, network, name string, flags ...string) netip.Addr {
	c.t.Helper()
	args := append([]string{"run", "-d", "--network", network, "--name", name}, flags...)
	h.MustDocker(c.t, append(args, "busybox", "sleep", "100000")...)
	return c.address(h, network, name)
}

// address is a container's IPv4 address as the engine tells it.
func (c *cluster) address(h *lab.Host, network, name string) netip.Addr {
	c.t.Helper()
	out := strings.TrimSpace(h.MustDocker(c.t, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), name))
	addr, err := netip.ParseAddr(out)
	if err != nil {
		c.t.Fatalf("address of %s on %s: %v", name, h.Name, err)
	}
	return addr
}

// reaches pings an address from inside a container.
func (c *cluster) reaches(h *lab.Host, from string, to netip.Addr) {
	c.t.Helper()
	h.MustDocker(c.t, "exec", from, "ping", "-c", "1", "-w", "10", to.String())
}

// oneOwner asks the LAN who has an address: exactly one reply, from that host.
func (c *cluster) oneOwner(addr netip.Addr, h *lab.Host) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	answers := must(c.WhoHas(ctx, addr))(c.t)
	if len(answers) != 1 || answers[0].Port != c.LAN.Port(h.Machine) {
		c.t.Errorf("who has %s: %v, want one answer through %s", addr, answers, c.LAN.Port(h.Machine))
	}
}
