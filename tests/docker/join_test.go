package docker_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestJoin: two hosts become a cluster while their agents run, by the lines that
// gvlan prints, and one leaves it again. Containers notice nothing.
func TestJoin(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: mixed(2)})
	h1, h2 := c.Hosts[0], c.Hosts[1]
	h1.MustDocker(t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.150.0.0/24", "-o", "parent=eth1", "lan1")
	web := c.run(h1, "lan1", "web")

	words := c.begin(h1)
	if want := []string{"join", "10.99.0.1"}; words[0] != want[0] || words[1] != want[1] {
		t.Errorf("the line to join with is gvlan %s, want the address other hosts reach h1 by", words[:2])
	}
	c.goesOn(h1, "web", 0)
	c.oneOwner(web, h1)
	c.refuses(h1, "this host is of a cluster already", "init")
	joins(c, words)

	c.waitMembers(c.Hosts, 1, 1)
	c.waitNetwork(h2, "lan1")
	db := c.run(h2, "lan1", "db")
	c.reaches(h1, "web", db)
	c.reaches(h2, "db", web)
	c.oneOwner(web, h1)
	c.oneOwner(db, h2)
	c.refused(h2, "in use by container web on node h1 (network lan1)",
		"run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")

	// The only voter is killed: its data stays, and so does the token.
	if err := c.agents[0].Kill(); err != nil {
		t.Fatal(err)
	}
	c.reaches(h1, "web", db)
	c.startAgain(0)
	c.waitTrusted(h2)
	if token := c.gvlan(h1, "token", "show", "-q"); token != words[2] {
		t.Error("after a restart the token is another")
	}
	c.run(h2, "lan1", "new")
	leaves(c)

	bringsAlong(c, words)
	c.oneOwner(web, h1)
	h1.MustDocker(t, "rm", "-f", "web")
	h2.MustDocker(t, "rm", "-f", "kept", "again")
	h2.MustDocker(t, "network", "rm", "lan1", "own")
	c.waitNoNetwork(h1, "lan1")
	c.waitNoNetwork(h1, "own")
}

// joins brings the second host into the cluster, once it was told everything
// that is wrong. A container that is on no network of gvlan's runs meanwhile.
func joins(c *cluster, words []string) {
	h2 := c.Hosts[1]
	h2.MustDocker(c.t, "run", "-d", "--name", "aside", "--network", "none", "--stop-signal", "KILL", "busybox", "sleep", "100000")
	h2.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.152.0.0/24", "-o", "parent=eth1", "own")
	c.run(h2, "own", "mine")
	c.refuses(h2, "networks of its own, which the cluster does not know: own", words...)
	c.goesOn(h2, "mine", 1)
	h2.MustDocker(c.t, "rm", "-f", "mine")
	c.refuses(h2, "ask at 10.99.0.77:2381: no gvlan answers", "join", "--discard", "10.99.0.77", words[2])
	c.refuses(h2, "the token is not valid there", "join", "--discard", words[1], words[2][:len(words[2])-4]+"aaaa")
	if s := c.status(h2); !s.Solo || !s.Etcd.Trusted || !slices.Contains(c.networks(h2), "own") {
		c.t.Errorf("status of a host that was not let in: %+v, want it solo as before", s)
	}
	out := c.gvlan(h2, append(slices.Clone(words), "--discard")...)
	if s := c.status(h2); s.Solo || !s.Etcd.Trusted {
		c.t.Errorf("after %q the status is %+v, want a host of the cluster that gives addresses", out, s)
	}
	if !hasAll(out, []string{"this host is of the cluster of 10.99.0.1\n", "cluster"}) {
		c.t.Errorf("gvlan join says\n%s\nwant what it did, and then the status", out)
	}
	c.goesOn(h2, "aside", 1)
	c.waitNoNetwork(h2, "own")
	c.refuses(h2, "this host is of a cluster already", words...)
}

// leaves takes the second host out of the cluster, which is refused while it has
// containers there.
func leaves(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.refuses(h2, "db", "leave")
	if s := c.status(h2); s.Solo || !s.Etcd.Trusted {
		c.t.Errorf("status of a host that may not leave: %+v, want it as before", s)
	}
	h2.MustDocker(c.t, "rm", "-f", "db", "new")
	c.gvlan(h2, "leave")
	if s := c.status(h2); !s.Solo || !s.Etcd.Trusted {
		c.t.Errorf("status of a host that left: %+v, want it solo", s)
	}
	c.waitNoNetwork(h2, "lan1")
	c.waitMembers(c.Hosts[:1], 1, 0)
	if left, there := c.nodes(h1)["h2"]; there && left.State == ready {
		c.t.Errorf("node ls shows a host that left: %+v", left)
	}
	c.refuses(h2, "this host is of no cluster", "leave")
	c.refuses(h1, "no other host of this cluster can have the store", "leave")
	if left, err := h2.Exec(c.t.Context(), "ls", "/var/lib/gvlan/identity"); left != "" {
		c.t.Errorf("of the cluster's keys %s are left (%v)", left, err)
	}
}

// bringsAlong has the second host join with a network of its own, on which a
// container runs: that is the cluster's then.
func bringsAlong(c *cluster, words []string) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	h2.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.152.0.0/24", "-o", "parent=eth1", "own")
	kept := c.run(h2, "own", "kept")
	c.gvlan(h2, append(slices.Clone(words), "--import")...)
	c.goesOn(h2, "kept", 1)
	c.waitMembers(c.Hosts, 1, 1)
	c.waitNetwork(h1, "own")
	c.waitNetwork(h2, "own")
	c.waitNetwork(h2, "lan1")
	c.oneOwner(kept, h2)
	c.refused(h1, "in use by container kept on node h2 (network own)", "run", "--rm", "--network", "own", "--ip", kept.String(), "busybox", "true")
	c.run(h2, "lan1", "again")
}

// goesOn: the very process that a container began with runs, in an agent that
// has not been started again.
func (c *cluster) goesOn(h *lab.Host, name string, agent int) {
	c.t.Helper()
	if state := h.MustDocker(c.t, "inspect", "-f", "{{.State.Running}} {{.RestartCount}}", name); state != "true 0" {
		c.t.Errorf("container %s of %s: running and restarts are %s, want true 0", name, h.Name, state)
	}
	if !c.agents[agent].Running() {
		c.t.Errorf("the agent of %s has ended", h.Name)
	}
}

// TestJoinBySettings: a host whose settings name a cluster and a token joins by
// itself, and says until then what keeps it out.
func TestJoinBySettings(t *testing.T) {
	t.Parallel()
	c := newBareCluster(t, options{hosts: lab.Same(2, lab.Docker28)})
	h1, h2 := c.Hosts[0], c.Hosts[1]
	const file = "/root/token"
	c.agents[1] = c.agent(h2, append(c.args, "--join", "10.99.0.1", "--token-file", file)...)
	c.waitWhy(h2, "read --token-file: open "+file)
	// Well-formed, and of no cluster.
	lost := "gvlan1-aaisem2ekvthpcezvk54zxpo74abcirtirkwm54itgvlxtg5537q-abcdefghijklmnopqrstuvwxya"
	writeToken := func(token string) {
		if err := h2.WriteSecret(file, []byte(token+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	writeToken(lost)
	c.waitWhy(h2, "ask at 10.99.0.1:2381: no gvlan answers")
	c.agents[0] = c.agent(h1, append(c.args, "--etcd-listen", "0.0.0.0:2379")...)
	c.waitTrusted(h1)
	c.waitWhy(h2, "the token is not valid there")
	eventually(t, "a token", func() error { // a moment after the store answers
		token, err := h1.Exec(t.Context(), c.binary, "token", "show", "-q")
		if err == nil {
			writeToken(token)
		}
		return err
	})
	c.waitTrusted(h2)
	c.waitMembers(c.Hosts, 1, 1)
	c.network(h2, "lan1", "--subnet", "10.153.0.0/24", "-o", "parent=eth1")
	web, db := c.run(h1, "lan1", "web"), c.run(h2, "lan1", "db")
	c.reaches(h1, "web", db)
	c.reaches(h2, "db", web)

	// It has joined: neither the token nor who let it in is needed any more.
	h1.MustExec(t, c.binary, "token", "rotate")
	h2.MustExec(t, "rm", file)
	if err := c.agents[1].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.waitTrusted(h2)
	for i, a := range c.agents {
		if log := string(must(os.ReadFile(a.Log))(t)); strings.Contains(log, lost) || strings.Contains(log, "panic") {
			t.Errorf("the log of h%d has the token, or worse", i+1)
		}
	}
}

// waitWhy waits until a host's status says why it gives no addresses.
func (c *cluster) waitWhy(h *lab.Host, words string) {
	c.t.Helper()
	eventually(c.t, "status to say "+words, func() error {
		s := c.status(h)
		if s.Etcd.Trusted {
			return errors.New("it gives addresses")
		}
		if !strings.Contains(s.Etcd.Why, words) {
			return fmt.Errorf("it says %q", s.Etcd.Why)
		}
		return nil
	})
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
