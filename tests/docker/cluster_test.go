// Package docker_test drives gvlan the way its users do: plain docker
// commands on real engines that share one LAN, one etcd and the agent's
// static binary. Nothing here looks inside the agent.
//
// GVLAN_TEST_GOSSIP=off runs all of it without gossip, which must only make
// it slower; what is about the gossip itself has it on all the same.
// GVLAN_TEST_LOGS=FOLDER keeps every log.
package docker_test

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

// patience bounds waits for events; no result is judged by it.
const patience = 3 * time.Minute

// both are the engines that a scenario runs on where it asks them for something.
var both = lab.Engines(lab.Docker20, lab.Docker28)

// program is the gvlan that every cluster of this run gets, its own copy: the
// sources may change meanwhile.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "gvlan-docker-")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(folder)
	built, err := lab.Build(context.Background(), "gvlan/cmd/gvlan", "-ldflags", "-s -w")
	if err != nil {
		log.Print(err)
		return 1
	}
	program = filepath.Join(folder, "gvlan")
	if err := copyFile(built, program); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

// cluster is a lab whose hosts run an agent each, on one etcd.
type cluster struct {
	*lab.Lab
	t      *testing.T
	etcd   *lab.Etcd
	store  *clientv3.Client // of etcd, to look with
	agents []*lab.Agent     // of the hosts, in their order
	binary string           // gvlan, where every machine sees it
	args   []string         // of every agent
}

// options bend a cluster.
type options struct {
	hosts []lab.HostOptions
	tls   bool
	args  []string // further arguments of every agent
	late  int      // hosts, the last ones, whose agents the test starts itself
}

// newBareCluster starts hosts only.
func newBareCluster(t *testing.T, o options) *cluster {
	t.Helper()
	c := &cluster{Lab: lab.New(t, lab.Options{Hosts: o.hosts}), t: t}
	c.keepLogs()
	c.binary = must(c.Install(program))(t)
	c.agents = make([]*lab.Agent, len(c.Hosts))
	if gossip := os.Getenv("GVLAN_TEST_GOSSIP"); gossip != "" {
		c.args = []string{"--gossip", gossip}
	}
	return c
}

// newCluster starts hosts, etcd and agents.
func newCluster(t *testing.T, o options) *cluster {
	t.Helper()
	c := newBareCluster(t, o)
	c.startEtcd(o)
	c.args = append(c.args, o.args...)
	prompt := c.Hosts[:len(c.Hosts)-o.late]
	for i, h := range prompt {
		c.agents[i] = c.startAgent(h)
	}
	for _, h := range prompt {
		c.waitTrusted(h)
	}
	return c
}

// keepLogs copies every log in full to the folder that GVLAN_TEST_LOGS names;
// a failed test prints only their ends.
func (c *cluster) keepLogs() {
	folder := os.Getenv("GVLAN_TEST_LOGS")
	if folder == "" {
		return
	}
	c.t.Cleanup(func() {
		to := filepath.Join(folder, strings.ReplaceAll(c.t.Name(), "/", "_"), c.ID)
		if err := os.CopyFS(to, os.DirFS(filepath.Join(c.Dir, "log"))); err != nil {
			c.t.Logf("keep the logs: %v", err)
		}
	})
}

// onBoth plays a test on each engine, in a cluster of its own. All of them
// run beside each other: most of their time they wait.
func onBoth(t *testing.T, hosts int, play func(*cluster)) {
	t.Helper()
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			play(newCluster(t, options{hosts: lab.Same(hosts, release)}))
		})
	}
}

// onMixed plays a test on one cluster whose hosts have either engine by turns: for what
// gvlan does by itself, whichever engine asks it.
func onMixed(t *testing.T, hosts int, play func(*cluster)) {
	t.Helper()
	t.Parallel()
	play(newCluster(t, options{hosts: mixed(hosts)}))
}

// mixed are hosts that have either engine by turns.
func mixed(count int) (hosts []lab.HostOptions) {
	releases := lab.Engines(lab.Docker28, lab.Docker20)
	for i := range count {
		hosts = append(hosts, lab.HostOptions{Release: releases[i%len(releases)]})
	}
	return hosts
}

// scenario is one claim, played on a cluster without networks. Afterwards
// etcd and engines must agree; then everything is removed, and nothing may
// be left.
func (c *cluster) scenario(name string, play func(*cluster)) {
	c.t.Helper()
	c.t.Run(name, func(t *testing.T) {
		in := *c
		in.t = t
		defer in.clear()
		play(&in)
		in.audit()
	})
}

func (c *cluster) startEtcd(o options) {
	c.t.Helper()
	var authority *lab.Authority
	if o.tls {
		authority = must(c.NewAuthority())(c.t)
	}
	c.etcd = must(c.NewEtcd(c.t.Context(), lab.EtcdOptions{TLS: authority}))(c.t)
	c.store = must(c.etcd.Client())(c.t)
	c.t.Cleanup(func() { c.store.Close() })
	c.args = append(c.args, "--etcd-endpoints", c.etcd.Endpoint(), "--log-level", "debug")
	if o.tls {
		cert := must(authority.Issue("agent"))(c.t)
		c.args = append(c.args, "--etcd-ca", cert.CA, "--etcd-cert", cert.Cert, "--etcd-key", cert.Key)
	}
}

// startAgent starts the agent of one host on the cluster's etcd.
func (c *cluster) startAgent(h *lab.Host) *lab.Agent {
	c.t.Helper()
	return c.agent(h, c.args...)
}

// agent starts an agent under its host's name.
func (c *cluster) agent(h *lab.Host, flags ...string) *lab.Agent {
	c.t.Helper()
	args := append([]string{"agent", "--node-name", h.Name}, flags...)
	return must(h.StartAgent(c.t.Context(), lab.AgentOptions{Binary: c.binary, Args: args}))(c.t)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
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
	deadline, pause := time.Now().Add(patience), 100*time.Millisecond
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
		time.Sleep(pause)
		pause = min(pause*5/4, time.Second) // each look is a program that starts: a third of what the suite computes
	}
}
