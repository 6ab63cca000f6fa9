package swarm_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

// TestJoin: managed plugins join the cluster of a socket agent by their settings,
// as clients of its store: they never run a member, and need no token once they
// have joined.
func TestJoin(t *testing.T) {
	t.Parallel()
	c := &cluster{Lab: lab.New(t, lab.Options{Hosts: lab.Same(2, lab.Docker28)}), t: t, down: map[*lab.Host]bool{}, probing: &sync.Mutex{}}
	c.keepLogs()
	c.ask = c.Hosts[0]
	c.binary = filepath.Join(c.Dir, "gvlan")
	if err := copyFile(program, c.binary, 0o755); err != nil {
		t.Fatal(err)
	}
	h1, h2 := c.Hosts[0], c.Hosts[1]
	must(h1.StartAgent(t.Context(), lab.AgentOptions{Binary: c.binary, Args: []string{"agent", "--node-name", h1.Name, "--log-level", "debug"}}))(t)
	c.trusts(h1)
	h1.MustExec(t, c.binary, "init")
	token := h1.MustExec(t, c.binary, "token", "show", "-q")
	c.store = must(clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + h1.Path("/var/lib/gvlan/etcd/client.sock")}}))(t)
	t.Cleanup(func() { c.store.Close() })

	// Beside the socket agent, by a file of the host; and alone.
	const file = "/etc/gvlan-token"
	if err := h1.WriteSecret(file, []byte(token)); err != nil {
		t.Fatal(err)
	}
	settings := map[*lab.Host]string{h1: "GVLAN_TOKEN_FILE=" + file, h2: "GVLAN_TOKEN=" + token}
	c.eachHost(func(h *lab.Host) error {
		if err := c.buildPlugin(h, alias); err != nil {
			return err
		}
		return c.enableWith(h, "GVLAN_JOIN=10.99.0.1", settings[h])
	})
	for _, h := range c.Hosts {
		c.trusts(h, "--swarm")
	}
	c.clientsOnly()

	c.formSwarm()
	for _, h := range c.Hosts {
		c.hasPlugin(h)
	}
	c.network("lan", "10.88.0.0/24", "-o", "parent=eth1")
	c.service("web", "lan", 4, "--endpoint-mode", "dnsrr")
	c.settled("web", 4)
	tasks := c.tasksOf("web")
	for _, x := range tasks {
		c.reaches(tasks[0], x.addr.String())
		if err := c.owned(x); err != nil {
			t.Error(err)
		}
	}

	// What joined before goes on with the certificate that it was given.
	h1.MustExec(t, c.binary, "token", "rotate")
	h2.MustDocker(t, "plugin", "disable", "-f", alias)
	h2.MustDocker(t, "plugin", "enable", alias)
	c.trusts(h2, "--swarm")
	c.clientsOnly()
	c.scale("web", 6)
	c.settled("web", 6)
	c.ask.MustDocker(t, "service", "rm", "web")
	c.gone("lan")
}

// enableWith has a plugin run with settings of its own.
func (c *cluster) enableWith(h *lab.Host, settings ...string) error {
	set := append([]string{"plugin", "set", alias, "GVLAN_NODE_NAME=" + h.Name, "GVLAN_LOG_LEVEL=debug"}, settings...)
	if _, err := h.Docker(c.t.Context(), set...); err != nil {
		return err
	}
	_, err := h.Docker(c.t.Context(), "plugin", "enable", alias)
	return err
}

// clientsOnly: the socket agent's host has the only member, and both plugins are
// told to be none.
func (c *cluster) clientsOnly() {
	c.t.Helper()
	h1 := c.Hosts[0]
	eventually(c.t, "one member and two clients", func() error {
		out, err := h1.Exec(c.t.Context(), c.binary, "store", "ls", "--json")
		if err != nil {
			return err
		}
		var view struct {
			Members []struct{ Node string }
			Hosts   []struct{ Node, Why string }
		}
		if err := json.Unmarshal([]byte(out), &view); err != nil {
			return err
		}
		if len(view.Members) != 1 || view.Members[0].Node != "h1" || len(view.Hosts) != 2 {
			return fmt.Errorf("the store is %+v", view)
		}
		for _, h := range view.Hosts {
			if !strings.HasSuffix(h.Node, ".swarm") || !strings.Contains(h.Why, "managed plugin") {
				return fmt.Errorf("the store is %+v", view)
			}
		}
		return nil
	})
	for _, h := range c.Hosts {
		if _, err := h.Exec(c.t.Context(), "test", "-e", "/var/lib/gvlan-swarm/identity/authority.pem"); err == nil {
			c.t.Errorf("the plugin of %s keeps the cluster's authority", h.Name)
		}
	}
}
