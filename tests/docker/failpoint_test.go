package docker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"

	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"

	"gvlan/tests/lab"
)

// whichever stands for the agent, of both, that comes by first.
const whichever = -1

// who names the agent of a row.
var who = map[int]string{0: "h1", 1: "h2", whichever: "either"}

// death is one row's: where an agent dies, and with which network.
type death struct {
	at      string
	on      int
	network string
	subnet  string // its first three bytes
	// after is done when every agent has died: what takes half a minute is
	// waited for once.
	after *[]func(*cluster)
}

// failpoints are all places between two writes of a network's create and
// removal, and who passes them: the agent that made the network or removes it
// (h1), or another (h2).
var failpoints = []struct {
	name string
	on   int // index of the host whose agent dies, or whichever
	play func(c *cluster, d death)
}{
	{"create: pools joined", 0, diesCreating},
	{"create: journaled", 0, diesCreating},
	{"commit: begun", 0, diesCreating},
	{"commit: defined", 0, diesCreating},
	{"bind: adopted", 0, diesCreating},
	{"create: pools joined", 1, diesCreating},
	{"create: journaled", 1, diesCreating},
	{"replica: made", 1, diesCreating},
	{"share: reserved", 1, diesCreating},
	{"bind: adopted", 1, diesCreating},
	{"delete: pools left", 0, diesRemoving},
	{"delete: journaled", 0, diesRemoving},
	{"removal: retired", 0, diesRemoving},
	{"removal: answered", 0, diesRemoving},
	{"replica: marked", 1, diesRemoving},
	{"delete: pools left", 1, diesRemoving},
	{"delete: journaled", 1, diesRemoving},
	{"replica: removed", 1, diesRemoving},
	{"removal: answered", 1, diesRemoving},
	{"removal: buried", whichever, diesRemoving},
	{"replica: made", 0, diesReturning},
	{"share: reserved", 0, diesReturning},
	{"bind: adopted", 0, diesReturning},
	{"come back: made", 0, diesReturning},
	{"come back: attached", 0, diesReturning},
}

// TestFailpointsAreAllHere compares the list with the sources.
func TestFailpointsAreAllHere(t *testing.T) {
	var want, got []string
	for _, f := range failpoints {
		got = append(got, f.name)
	}
	sources := must(filepath.Glob("../../driver/*.go"))(t)
	for _, path := range sources {
		file := must(parser.ParseFile(token.NewFileSet(), path, nil, 0))(t)
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 1 {
				if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "failpoint" {
					want = append(want, must(strconv.Unquote(call.Args[0].(*ast.BasicLit).Value))(t))
				}
			}
			return true
		})
	}
	for _, names := range []*[]string{&want, &got} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failpoints (-sources +tested):\n%s", diff)
	}
}

// TestDeathBetweenWrites: an agent dies at every failpoint, and the cluster
// ends whole.
func TestDeathBetweenWrites(t *testing.T) {
	t.Parallel()
	deadly := must(lab.Build(t.Context(), "gvlan/cmd/gvlan", "-tags", "failpoint"))(t)
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(2, release)})
			if err := copyFile(deadly, filepath.Join(c.Dir, "gvlan-deadly")); err != nil {
				t.Fatal(err)
			}
			// One clean-up for all: what an unfinished create reserved is given up
			// by reconcile, which takes its time.
			c.scenario("failpoint", func(c *cluster) {
				var after []func(*cluster)
				for i, f := range failpoints {
					d := death{at: f.name, on: f.on, network: fmt.Sprintf("lan%d", i), subnet: fmt.Sprintf("10.170.%d", i), after: &after}
					c.t.Run(fmt.Sprintf("%s on %s", f.name, who[f.on]), func(t *testing.T) {
						in := *c
						in.t = t
						f.play(&in, d)
					})
				}
				for _, check := range after {
					check(c)
				}
			})
			c.scenario("a clash with a container stays", clashWithContainer)
		})
	}
}

// arm replaces the agent of a host, or of all with whichever, by one that dies at a
// failpoint.
func (c *cluster) arm(host int, failpoint string) {
	c.t.Helper()
	for i, h := range c.Hosts {
		if host != whichever && i != host {
			continue
		}
		if err := c.agents[i].Stop(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		c.agents[i] = must(h.StartAgent(c.t.Context(), lab.AgentOptions{
			Binary: filepath.Join(c.Dir, "gvlan-deadly"),
			Args:   append([]string{"agent", "--node-name", h.Name}, c.args...),
			Env:    []string{"GVLAN_FAILPOINT=" + failpoint},
		}))(c.t)
		c.waitTrusted(h)
	}
}

// mourn waits for the death of an armed agent and starts
// one that lives, as systemd would.
func (c *cluster) mourn(dying int) {
	c.t.Helper()
	if dying != whichever {
		<-c.agents[dying].Done()
	} else {
		select {
		case <-c.agents[0].Done():
			dying = 0
		case <-c.agents[1].Done():
			dying = 1
		}
	}
	c.agents[dying] = c.startAgent(c.Hosts[dying])
	c.waitTrusted(c.Hosts[dying])
}

// diesCreating: the network is made in spite of it, or is nowhere and its
// maker was told.
func diesCreating(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.arm(d.on, d.at)
	made := make(chan error, 1)
	go func() {
		_, err := h1.Docker(c.t.Context(), "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
			"--subnet", d.subnet+".0/24", "--aux-address", "nas="+d.subnet+".9", "-o", "parent=eth1", d.network)
		made <- err
	}()
	c.mourn(d.on)
	if err := <-made; err != nil {
		c.t.Logf("docker network create: %v", err)
		c.waitUndefined(d.network)
		c.waitNoNetwork(h1, d.network)
		c.waitNoNetwork(h2, d.network)
		return
	}
	c.whole(d.network)
}

// whole waits until both hosts have the network, and uses it.
func (c *cluster) whole(name string) {
	c.t.Helper()
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.waitNetwork(h1, name)
	c.waitNetwork(h2, name)
	web, db := c.run(h1, name, name+"-web"), c.run(h2, name, name+"-db")
	c.reaches(h1, name+"-web", db)
	c.oneOwner(web, h1)
	c.oneOwner(db, h2)
	for _, l := range c.list(store.AllLeasesSpan()) {
		if strings.Contains(string(l.Value), "engine:") {
			c.t.Errorf("a lease is not in the definition's name: %s", l.Value)
		}
	}
}

// diesRemoving: the network is gone everywhere, or its remover was told that
// it is not, and it is whole.
func diesRemoving(c *cluster, d death) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	c.arm(d.on, d.at)
	removed := make(chan error, 1)
	go func() {
		_, err := h1.Docker(c.t.Context(), "network", "rm", d.network)
		removed <- err
	}()
	c.mourn(d.on)
	if err := <-removed; err != nil {
		c.t.Logf("docker network rm: %v", err)
		*d.after = append(*d.after, func(c *cluster) { c.whole(d.network) })
		return
	}
	c.waitUndefined(d.network)
	c.waitNoNetwork(h1, d.network)
	c.waitNoNetwork(h2, d.network)
}

// diesReturning: a stopped container needs the network, so it comes back.
func diesReturning(c *cluster, d death) {
	h1 := c.Hosts[0]
	c.network(h1, d.network, "--subnet", d.subnet+".0/24", "-o", "parent=eth1")
	c.run(h1, d.network, d.network+"-old", "--ip", d.subnet+".50")
	h1.MustDocker(c.t, "stop", d.network+"-old")
	before := c.networkID(h1, d.network)
	c.arm(d.on, d.at)
	h1.MustDocker(c.t, "network", "rm", d.network)
	c.mourn(d.on)
	c.waitBack(h1, d.network, before)
	eventually(c.t, "the stopped container to start again", func() error {
		_, err := h1.Docker(c.t.Context(), "start", d.network+"-old")
		return err
	})
	if e := c.inspect(h1, d.network, d.network+"-old"); e.IPAddress != d.subnet+".50" {
		c.t.Errorf("old came back with %+v, want its own address", e)
	}
	c.whole(d.network)
}

// clashWithContainer: h2's agent dies when it was about to define a network;
// h1 defines another of the name meanwhile, and a container refers to h2's.
func clashWithContainer(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.arm(1, "commit: begun")
	c.create(h2, "lan1", "--subnet", "10.173.0.0/24", "-o", "parent=eth1")
	<-c.agents[1].Done()
	c.create(h1, "lan1", "--subnet", "10.174.0.0/24", "-o", "parent=eth1")
	c.waitNetwork(h1, "lan1")
	h2.MustDocker(c.t, "create", "--stop-signal", "KILL", "--network", "lan1", "--name", "web", "busybox", "sleep", "100000")
	c.agents[1] = c.startAgent(h2)
	c.waitTrusted(h2)
	c.fares(h2, "lan1", "conflict", "node h1 defined a different network of this name first", "web")
	h2.MustDocker(c.t, "start", "web")
	if web := c.address(h2, "lan1", "web"); !netip.MustParsePrefix("10.173.0.0/24").Contains(web) {
		c.t.Errorf("web has %s, want one of the network it was made for", web)
	}
	c.oneOwner(c.address(h2, "lan1", "web"), h2)
	for _, h := range c.Hosts { // everybody is told
		if ls := h.MustExec(c.t, c.binary, "network", "ls"); !strings.Contains(ls, "node h1 defined a different network of this name first") {
			c.t.Errorf("gvlan network ls on %s says\n%s\nwant the clash in it", h.Name, ls)
		}
	}
	h2.MustDocker(c.t, "rm", "-f", "web")
	c.sameAsDefined(h2, "lan1")
}

// fares waits until the agent of a host says that of a network.
func (c *cluster) fares(h *lab.Host, name, state string, words ...string) {
	c.t.Helper()
	eventually(c.t, name+" to be "+state+" on "+h.Name, func() error {
		for _, n := range c.status(h).Networks {
			if n.Name == name && n.State == state && hasAll(n.Why, words) {
				return nil
			}
		}
		return fmt.Errorf("status: %+v", c.status(h).Networks)
	})
}
