// Package kernel_test runs what gvlan's documents promise about parents, VLANs
// and modes on a kernel that has them all: User Mode Linux, with a real Docker
// engine and the real agent in it, hosts as namespaces on a switch.
//
// The examples of the five documents gvlan grew from are tables, one file
// each: what is typed, and beside it what the document says should be seen.
// The other files hold what the documents take for granted.
package kernel_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// patience is when a wait for an event counts as a hang, on whatever machine;
// no result is judged by it.
const patience = 10 * time.Minute

// agentProgram and etcdProgram name the variables with the paths of the agent and
// of etcd, for tests inside UML: there is no time to build there.
const (
	agentProgram = "GVLAN_KERNEL_AGENT"
	etcdProgram  = "GVLAN_KERNEL_ETCD"
)

// inUML runs the calling test again on the kernel that has everything, beside
// the other tests, and reports whether this is there.
func inUML(t *testing.T) bool {
	t.Helper()
	if os.Getenv(agentProgram) != "" {
		return true
	}
	t.Parallel()
	program, err := lab.Build(t.Context(), "gvlan/cmd/gvlan", "-ldflags", "-s -w") // each lab copies it
	if err != nil {
		t.Fatal(err)
	}
	etcd, err := lab.Build(t.Context(), lab.EtcdProgram)
	if err != nil {
		t.Fatal(err)
	}
	return lab.RunInUML(t, agentProgram+"="+program, etcdProgram+"="+etcd)
}

// site is a LAN with hosts that each have an engine, an agent, and beside the
// lab's card (eth1, 10.99.0.x, on br0) a card eth0 without address on a second
// switch, br1.
type site struct {
	*lab.Lab
	t       *testing.T
	program string       // the agent's
	etcd    *lab.Etcd    // the agents'
	agents  []*lab.Agent // of the hosts, in their order
}

// engines are those of a site's hosts, h1 first. Most of what is typed is typed
// on h1: between them the tests do it on both.
type engines []lab.Release

// newSite starts a host per engine, with these labels, and their agents, which
// share one etcd of the lab's: a store that hosts keep themselves wakes up often,
// and each time costs this slow kernel much.
func newSite(t *testing.T, hosts engines, labels ...string) *site {
	t.Helper()
	var all []lab.HostOptions
	for _, release := range hosts {
		all = append(all, lab.HostOptions{Release: release, Labels: labels})
	}
	s := &site{Lab: lab.New(t, lab.Options{Hosts: all}), t: t}
	var err error
	if s.program, err = s.Install(os.Getenv(agentProgram)); err != nil {
		t.Fatal(err)
	}
	s.startEtcd(os.Getenv(etcdProgram))
	s.sh(s.LAN.Machine, "ip link add br1 address 02:00:00:00:00:fe type bridge mcast_snooping 0 && ip link set br1 up")
	s.card(s.Peer.Machine)
	for _, h := range s.Hosts {
		s.card(h.Machine)
		s.agents = append(s.agents, s.startAgent(h))
	}
	return s
}

// relabel starts the engines again with another label.
func (s *site) relabel(label string) {
	s.t.Helper()
	for _, h := range s.Hosts {
		if err := h.Engine.Stop(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		h.Engine.Labels = []string{label}
		if err := h.Engine.Start(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		s.waitLocal(h)
	}
}

// on is the site as a subtest sees it.
func (s *site) on(t *testing.T) *site {
	in := *s
	in.t = t
	return &in
}

// waitLocal waits until the agent of a host has read its engine's label: from
// then on it makes a network without a parent, which nobody else may.
func (s *site) waitLocal(h *lab.Host) {
	s.t.Helper()
	s.eventually("the agent of "+h.Name+" to know the label", func() error {
		_, err := h.Exec(s.t.Context(), "sh", "-c", "docker network create -d gvlan --ipam-driver gvlan probe && docker network rm probe")
		return err
	})
}

// startEtcd starts the etcd that agents share; "" has its program built.
func (s *site) startEtcd(program string) {
	s.t.Helper()
	var err error
	if s.etcd, err = s.NewEtcd(s.t.Context(), lab.EtcdOptions{Binary: program}); err != nil {
		s.t.Fatal(err)
	}
}

// startAgent starts the agent of a host, with further arguments.
func (s *site) startAgent(h *lab.Host, args ...string) *lab.Agent {
	s.t.Helper()
	agent, err := h.StartAgent(s.t.Context(), lab.AgentOptions{Binary: s.program, Args: append([]string{
		"agent", "--node-name", h.Name, "--boot-wait", "0s", "--etcd-endpoints", s.etcd.Endpoint(),
	}, args...)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.waitTrusted(h)
	return agent
}

// waitTrusted waits until the agent of a host would give addresses.
func (s *site) waitTrusted(h *lab.Host) {
	s.t.Helper()
	s.eventually("etcd to answer the agent of "+h.Name, func() error {
		out, err := h.Exec(s.t.Context(), s.program, "status", "--json")
		if err != nil {
			return err
		}
		var status struct{ Etcd struct{ Trusted bool } }
		if err := json.Unmarshal([]byte(out), &status); err != nil || !status.Etcd.Trusted {
			return fmt.Errorf("status: %s (%w)", out, err)
		}
		return nil
	})
}

// card plugs eth0 of a machine into the second switch.
func (s *site) card(m *lab.Machine) {
	s.t.Helper()
	s.plug(m, "eth0", "br1", "t-"+m.Name)
}

// plug puts a card into a port of a switch, which passes VLAN tags like a
// trunk.
func (s *site) plug(m *lab.Machine, nic, bridge, port string) {
	s.t.Helper()
	// Typed from outside, since the machines do not see one another's processes.
	script := "ip link add " + port + " master " + bridge + " up type veth peer name " + nic + " netns " + strconv.Itoa(m.PID)
	if out, err := hostPlace(s.LAN.Machine).try(s.t.Context(), "sh", "-c", script); err != nil {
		s.t.Fatalf("%s: %v: %s", script, err, out)
	}
	s.sh(m, "ip link set "+nic+" up")
}

// sh runs shell commands on a machine.
func (s *site) sh(m *lab.Machine, script string) {
	s.t.Helper()
	m.MustExec(s.t, "sh", "-c", script)
}

// api asks the engine of a host.
func (s *site) api(h *lab.Host, path string, answer any) error {
	return h.Engine.Get(s.t.Context(), path, answer)
}

// eventually waits for a condition, and fails with its last complaint.
func (s *site) eventually(what string, condition func() error) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
