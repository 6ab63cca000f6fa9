package docker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestJoin: the first agent brings its own etcd, the second joins it with
// the line that the first one printed.
func TestJoin(t *testing.T) {
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newBareCluster(t, options{hosts: lab.Same(2, release)})
			h1, h2 := c.Hosts[0], c.Hosts[1]
			c.agents[0] = c.agent(h1, append(c.args, "--etcd-listen", "0.0.0.0:2379")...)
			c.waitTrusted(h1)
			line := c.joinLine(0)
			if !strings.Contains(line, "--join 10.99.0.1:2379 --token ") {
				t.Errorf("the join line is %q, want the address other hosts reach h1 by, and a token", line)
			}
			c.agents[1] = c.agent(h2, append(c.args, strings.Fields(strings.TrimPrefix(line, "gvlan agent "))...)...)
			c.waitTrusted(h2)

			c.network(h1, "lan1", "--subnet", "10.150.0.0/24", "-o", "parent=eth1")
			web, db := c.run(h1, "lan1", "web"), c.run(h2, "lan1", "db")
			c.reaches(h1, "web", db)
			c.reaches(h2, "db", web)
			c.oneOwner(web, h1)
			c.oneOwner(db, h2)
			c.refused(h2, "in use by container web on node h1 (network lan1)",
				"run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")

			// The agent that brings the etcd is killed: its data stays, and so
			// does the token.
			if err := c.agents[0].Kill(); err != nil {
				t.Fatal(err)
			}
			c.reaches(h1, "web", db)
			c.startAgain(0)
			c.waitTrusted(h2)
			if again := c.joinLine(0); again != line {
				t.Errorf("after a restart the join line is %q, want %q as before", again, line)
			}
			c.run(h2, "lan1", "new")
			h2.MustDocker(t, "rm", "-f", "db", "new")
			h1.MustDocker(t, "rm", "-f", "web")
			h2.MustDocker(t, "network", "rm", "lan1")
			c.waitNoNetwork(h1, "lan1")
		})
	}
}

// TestSolo: an agent that shares its etcd with nobody says so with every
// network.
func TestSolo(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, options{hosts: lab.Same(1, lab.Docker28)})
	h := c.Hosts[0]
	c.agents[0] = c.agent(h, c.args...)
	c.waitTrusted(h)
	c.network(h, "lan1", "--subnet", "10.151.0.0/24", "-o", "parent=eth1")
	c.logged(0, "this agent is solo", "network=lan1")
	c.run(h, "lan1", "web")
}

// joinLine waits for the line that the agent of a host prints for others.
func (c *cluster) joinLine(i int) (line string) {
	c.t.Helper()
	eventually(c.t, "the join line", func() error {
		text, err := os.ReadFile(c.agents[i].Log)
		if err != nil {
			return err
		}
		_, rest, found := strings.Cut(string(text), "other hosts join this one with: ")
		if !found {
			return fmt.Errorf("%s has none yet", filepath.Base(c.agents[i].Log))
		}
		line, _, _ = strings.Cut(rest, `"`)
		return nil
	})
	return line
}
