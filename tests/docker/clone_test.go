package docker_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestNodeNames: a node's name has one host, and what is kept under it is that
// host's, whoever comes by the name.
func TestNodeNames(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("another host takes the name", nameTaken)
		c.scenario("the data directory is lost", dataDirLost)
	})
}

// nameTaken: an agent with the name of a host whose own agent is away frees
// nothing, gives nothing, says what to do, and makes room when the elder comes
// back.
func nameTaken(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.76.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	for _, a := range c.agents[:2] {
		if err := a.Stop(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	younger := c.agent(h2, append([]string{"--node-name", "h1", "--data-dir", "/var/lib/gvlan/younger"}, c.args...)...)
	eventually(c.t, "the younger to have the name", func() error {
		if s := c.status(h2); !strings.Contains(s.Etcd.Why, "was another install's") || s.Etcd.Trusted {
			return fmt.Errorf("status: %+v", s.Etcd)
		}
		return nil
	})
	if out, err := h2.Docker(c.t.Context(), "run", "--rm", "--network", "lan1", "busybox", "true"); err == nil || !strings.Contains(err.Error(), "gvlan recover") {
		c.t.Errorf("a container starts under another host's name: %q, %v", out, err)
	}
	c.startAgain(0)
	eventually(c.t, "the younger to end", func() error {
		if younger.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	if said := string(must(os.ReadFile(younger.Log))(c.t)); !strings.Contains(lastLine(said), "--node-name") {
		c.t.Errorf("the younger says last\n%s\nwant what to do", lastLine(said))
	}
	c.startAgain(1)
	c.audit()
	c.run(h2, "lan1", "api")
	c.reaches(h2, "api", web)
	c.oneOwner(web, h1)
}

// dataDirLost: a host that lost everything gvlan kept there is the same host:
// its engine has the endpoints.
func dataDirLost(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.77.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	if err := c.agents[0].Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	h1.MustExec(c.t, "sh", "-c", "rm -rf /var/lib/gvlan/*")
	c.startAgain(0)
	c.audit()
	c.run(h2, "lan1", "api")
	c.reaches(h2, "api", web)
	c.oneOwner(web, h1)
	c.run(h1, "lan1", "db")
	c.audit()
}
