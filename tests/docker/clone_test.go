package docker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestNodeNames: a node's name has one host, and what is kept under it is that
// host's, whoever comes by the name.
func TestNodeNames(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		c.scenario("another host takes the name", nameTaken)
		c.scenario("the data directory is lost", dataDirLost)
		c.scenario("the data directory is copied", dataDirCopied)
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
	if said := lastWords(c.t, younger); !strings.Contains(said, "--node-name") {
		c.t.Errorf("the younger says last\n%s\nwant what to do", said)
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

// dataDirCopied: a host that was copied with its data directory cannot be told
// from the elder started anew while that one is cut off. Once both are seen to
// run, the elder goes on, and the copy ends and says which host has the name.
func dataDirCopied(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.78.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	for _, a := range c.agents[:2] {
		if err := a.Stop(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	between, boot := filepath.Join(c.Dir, "copy"), filepath.Join(c.Dir, "boot_id") // where every machine sees them
	h1.MustExec(c.t, "cp", "-a", "/var/lib/gvlan", between)
	h2.MustExec(c.t, "cp", "-a", between, "/var/lib/copy")
	if err := os.WriteFile(boot, []byte("0d9f3c5e-0000-4000-8000-00000000c0b1\n"), 0o644); err != nil {
		c.t.Fatal(err)
	}
	h2.MustExec(c.t, "mount", "--bind", boot, "/proc/sys/kernel/random/boot_id") // all hosts here run on one kernel
	defer h2.MustExec(c.t, "umount", "/proc/sys/kernel/random/boot_id")
	c.startAgain(0)
	if err := c.LAN.Cut(h1.Machine); err != nil {
		c.t.Fatal(err)
	}
	c.delete(store.LiveKey("h1")) // as its etcd lease ends by itself
	younger := c.agent(h2, append([]string{"--node-name", "h1", "--data-dir", "/var/lib/copy"}, c.args...)...)
	eventually(c.t, "the copy to have the name", func() error {
		if s := c.status(h2); !s.Etcd.Trusted {
			return fmt.Errorf("status: %+v", s.Etcd)
		}
		return nil
	})
	c.healed(h1)
	said := lastWords(c.t, younger)
	for _, want := range []string{`host "h1"`, "copy of the other", "machine-id"} {
		if !strings.Contains(said, want) {
			c.t.Errorf("the copy says last\n%s\nwant %s in it", said, want)
		}
	}
	c.waitTrusted(h1)
	if err := younger.Start(c.t.Context()); err != nil { // as systemd does
		c.t.Fatal(err)
	}
	eventually(c.t, "the copy to wait for the name", func() error {
		if s := c.status(h2); s.Etcd.Trusted || !strings.Contains(s.Etcd.Why, `host "h1"`) || !strings.Contains(s.Etcd.Why, "--node-name") {
			return fmt.Errorf("status: %+v", s.Etcd)
		}
		return nil
	})
	if err := younger.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.startAgain(1)
	c.audit()
	c.run(h2, "lan1", "api")
	c.reaches(h2, "api", web)
	c.oneOwner(web, h1)
}

// lastWords waits for an agent to end by itself, and returns what it says last.
func lastWords(t *testing.T, a *lab.Agent) string {
	t.Helper()
	eventually(t, "the younger to end", func() error {
		if a.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	return lastLine(string(must(os.ReadFile(a.Log))(t)))
}
