package docker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
// removal and of a container's start, and who passes them: the agent that made
// the network or removes it (h1), or another (h2).
var failpoints = []struct {
	name string
	on   int // index of the host whose agent dies, or whichever
	play func(c *cluster, d death)
}{
	{"create: parent ready", 0, diesCreating},
	{"create: journaled", 0, diesCreating},
	{"commit: begun", 0, diesCreating},
	{"commit: defined", 0, diesCreating},
	{"create: journaled", 1, diesCreating},
	{"replica: made", 1, diesCreating},
	{"share: reserved", 1, diesCreating},
	{"delete: journaled", 0, diesRemoving},
	{"keep: journaled", 0, diesKeeping},
	{"detach: one disconnected", 1, diesForced},
	{"removal: retired", 0, diesRemoving},
	{"renew: renewed", 0, diesRenewing},
	{"removal: answered", 0, diesRemoving},
	{"removal: settled", 1, diesRemoving},
	{"removal: tombstone cleared", 0, diesRemoving},
	{"removal: answers swept", 0, diesRemoving},
	{"replica: marked", 1, diesRemoving},
	{"delete: journaled", 1, diesRemoving},
	{"replica: removed", 1, diesRemoving},
	{"removal: answered", 1, diesRemoving},
	{"removal: buried", whichever, diesRemoving},
	{"replica: made", 0, diesReturning},
	{"share: reserved", 0, diesReturning},
	{"come back: made", 0, diesReturning},
	{"come back: one attached", 0, diesReturning},
	{"come back: attached", 0, diesReturning},
	{"adopt: journaled", 1, diesAdopting},
	{"endpoint: written", 0, diesStarting},
	{"endpoint: bound", 0, diesStarting},
}

// TestFailpointsAreAllHere compares the list with the sources.
func TestFailpointsAreAllHere(t *testing.T) {
	var want, got []string
	for _, f := range failpoints {
		got = append(got, f.name)
	}
	for _, path := range slices.Concat(sources(t, "../../driver"), sources(t, "../../ipam")) {
		file := must(parser.ParseFile(token.NewFileSet(), path, nil, 0))(t)
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "failpoint.Reach" {
				want = append(want, must(strconv.Unquote(call.Args[0].(*ast.BasicLit).Value))(t))
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

// sources are the product's files below a folder.
func sources(t *testing.T, folder string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
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
			c.scenario("a clash that nobody uses", clashUnused)
			c.scenario("identical definitions merge", mergeForCertain)
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
		c.startDeadly(i, failpoint)
		c.waitTrusted(h)
	}
}

// startDeadly starts an agent that may die at once.
func (c *cluster) startDeadly(host int, failpoint string) {
	c.t.Helper()
	h := c.Hosts[host]
	c.agents[host] = must(h.StartAgent(c.t.Context(), lab.AgentOptions{
		Binary: filepath.Join(c.Dir, "gvlan-deadly"),
		Args:   append([]string{"agent", "--node-name", h.Name}, c.args...),
		Env:    []string{"GVLAN_FAILPOINT=" + failpoint},
	}))(c.t)
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
