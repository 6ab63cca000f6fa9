// Package swarm_test drives gvlan in a swarm the way its users do: the
// managed plugin put together by deploy/plugin/build.sh, and plain docker
// commands on three managers that share one LAN and one etcd.
package swarm_test

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

// patience bounds waits for events; no result is judged by it.
const patience = 4 * time.Minute

// alias is what the managed plugin is called, as README says.
const alias = "gvlan-swarm:latest"

// rounds is how often services are scaled up and down.
func rounds() int {
	if os.Getenv("GVLAN_SOAK") != "" {
		return 200
	}
	return 4
}

// program is the gvlan of this run, its own copy: the sources may change
// meanwhile.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "gvlan-swarm-")
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
	if err := copyFile(built, program, 0o755); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

// cluster is a lab whose hosts are the managers of one swarm, each with the
// managed plugin.
type cluster struct {
	*lab.Lab
	t      *testing.T
	etcd   *lab.Etcd
	access []string         // settings of every plugin: where etcd is, and how it is spoken to
	store  *clientv3.Client // of etcd, to look with
	ask    *lab.Host        // the manager that commands are given on
	binary string           // gvlan, where every machine sees it
	down   map[*lab.Host]bool
	// probing is held while the LAN is asked for an address: two probes for one
	// address at once would count each other's answers.
	probing *sync.Mutex
}

// newCluster makes the swarm. The third host's card has another name than
// those of the others.
func newCluster(t *testing.T, release lab.Release) *cluster {
	t.Helper()
	c := &cluster{Lab: lab.New(t, lab.Options{Hosts: lab.Same(3, release)}), t: t, down: map[*lab.Host]bool{}, probing: &sync.Mutex{}}
	c.keepLogs()
	c.ask = c.Hosts[0]
	c.binary = filepath.Join(c.Dir, "gvlan")
	if err := copyFile(program, c.binary, 0o755); err != nil {
		t.Fatal(err)
	}
	c.startEtcd(release != lab.Docker20)
	c.store = must(c.etcd.Client())(t)
	t.Cleanup(func() { c.store.Close() })
	c.renameCard(c.Hosts[2], "nic3")
	c.eachHost(func(h *lab.Host) error { return c.installPlugin(h) })
	c.formSwarm()
	return c
}

// startEtcd starts etcd, with TLS on one of the engines: then the plugins read
// the certificates of the host.
func (c *cluster) startEtcd(secure bool) {
	c.t.Helper()
	var authority *lab.Authority
	if secure {
		authority = must(c.NewAuthority())(c.t)
	}
	c.etcd = must(c.NewEtcd(c.t.Context(), lab.EtcdOptions{TLS: authority}))(c.t)
	c.access = []string{"GVLAN_ETCD_ENDPOINTS=" + c.etcd.Endpoint()}
	if secure {
		cert := must(authority.Issue("plugin"))(c.t)
		c.access = append(c.access, "GVLAN_ETCD_CA="+cert.CA, "GVLAN_ETCD_CERT="+cert.Cert, "GVLAN_ETCD_KEY="+cert.Key)
	}
}

// on is the cluster as a subtest sees it.
func (c *cluster) on(t *testing.T) *cluster {
	in := *c
	in.t = t
	return &in
}

// scenario is one claim, played on the shared cluster. A failed one ends the
// test: those after it build on it.
func (c *cluster) scenario(name string, play func(*cluster)) {
	c.t.Helper()
	if !c.t.Run(name, func(t *testing.T) { play(c.on(t)) }) {
		c.t.FailNow()
	}
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

// renameCard gives a host's card another name and its routes back.
func (c *cluster) renameCard(h *lab.Host, name string) {
	c.t.Helper()
	h.MustExec(c.t, "sh", "-ec", `ip link set eth1 down; ip link set eth1 name `+name+`; ip link set `+name+` up
		ip route replace default via `+c.LAN.Gateway.String())
}

// eachHost does the same on all hosts at once.
func (c *cluster) eachHost(do func(*lab.Host) error) {
	c.t.Helper()
	results := make(chan error, len(c.Hosts))
	for _, h := range c.Hosts {
		go func() { results <- do(h) }()
	}
	for range c.Hosts {
		if err := <-results; err != nil {
			c.t.Fatal(err)
		}
	}
}

// installPlugin does what README tells a user to do on every node.
func (c *cluster) installPlugin(h *lab.Host) error {
	if err := c.buildPlugin(h, alias); err != nil {
		return err
	}
	return c.enablePlugin(h)
}

// enablePlugin tells a plugin where the store is, and has it run.
func (c *cluster) enablePlugin(h *lab.Host) error { return c.enableWith(h, c.access...) }

// buildPlugin runs deploy/plugin/build.sh on a host, in a copy of the
// folders it needs.
func (c *cluster) buildPlugin(h *lab.Host, name string) error {
	tree := filepath.Join(c.Dir, "tree-"+h.Name)
	for from, to := range map[string]string{
		program:                           "bin/gvlan",
		"../../deploy/plugin/build.sh":    "deploy/plugin/build.sh",
		"../../deploy/plugin/bundle.sh":   "deploy/plugin/bundle.sh",
		"../../deploy/plugin/config.json": "deploy/plugin/config.json",
	} {
		if err := copyFile(from, filepath.Join(tree, to), 0o755); err != nil {
			return err
		}
	}
	_, err := h.Exec(c.t.Context(), filepath.Join(tree, "deploy/plugin/build.sh"), name)
	return err
}

// formSwarm makes every host a manager.
func (c *cluster) formSwarm() {
	c.t.Helper()
	h1 := c.Hosts[0]
	h1.MustDocker(c.t, "swarm", "init", "--advertise-addr", h1.Addr4.String())
	token := h1.MustDocker(c.t, "swarm", "join-token", "-q", "manager")
	for _, h := range c.Hosts[1:] {
		h.MustDocker(c.t, "swarm", "join", "--advertise-addr", h.Addr4.String(), "--token", token, h1.Addr4.String()+":2377")
	}
}

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
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
		pause = min(pause*5/4, time.Second)
	}
}
