package docker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestNodes: what an operator does to a node whose containers run.
func TestNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: lab.Same(2, lab.Docker28)})
	c.scenario("drain", nodeDrained)
	c.scenario("evict and return", nodeEvicted)
	c.scenario("text of others", textOfOthers)
}

// textOfOthers: what another node's agent writes about itself, or about its
// containers, is shown to an operator and does nothing to his terminal.
func textOfOthers(c *cluster) {
	const odd = "odd\x1b[2J\u009b\nh9\th9"
	h1 := c.Hosts[0]
	c.network(h1, "lan1", "--subnet", "10.172.0.0/24", "-o", "parent=eth1")
	def := must(store.Decode[store.Network](c.list(store.NetworksSpan())[0]))(c.t)
	for key, value := range map[string][]byte{
		store.NodeKey("odd"): store.Encode(store.Node{
			Node: "odd", Host: odd, Address: odd, Version: odd,
			Interfaces: []store.Interface{{Name: odd, Kind: odd, UsedBy: []string{odd}}},
			Networks:   []store.NodeNetwork{{UUID: def.UUID, Name: "lan1", State: odd, Why: odd}},
		}),
		store.EndpointKey("odd", "e1"): store.Encode(store.Endpoint{
			Endpoint: "e1", Node: "odd", Network: def.UUID, Name: "lan1", Segment: "default", IPv4: "10.172.0.9/24",
			Container: store.Container{ID: "c1", Name: odd},
		}),
	} {
		must(c.store.Put(c.t.Context(), prefix+key, string(value)))(c.t)
		defer func() { must(c.store.Delete(c.t.Context(), prefix+key))(c.t) }()
	}
	for _, command := range []string{"node ls", "node inspect odd", "network ls", "network inspect lan1", "dns ls", "node ls --json"} {
		eventually(c.t, "gvlan "+command+" to show it", func() error {
			out, err := h1.Exec(c.t.Context(), c.binary, strings.Fields(command)...)
			if err == nil && !strings.Contains(out, `odd\u001b[2J\u009b`) {
				err = fmt.Errorf("it says\n%s", out)
			}
			if strings.ContainsAny(out, "\x1b\u009b") || slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.HasPrefix(line, "h9") }) {
				c.t.Errorf("gvlan %s prints %q", command, out)
			}
			return err
		})
	}
}

// nodeDrained: what runs stays, what is new is refused in plain words, by
// whichever host it was said.
func nodeDrained(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.170.0.0/24", "-o", "parent=eth1")
	stays := c.run(h2, "lan1", "stays")
	h1.MustExec(c.t, c.binary, "node", "drain", "h2")
	eventually(c.t, "h2 to refuse", func() error {
		_, err := h2.Docker(c.t.Context(), "run", "--rm", "--network", "lan1", "busybox", "true")
		if err == nil || !strings.Contains(err.Error(), "node h2 takes no new containers until gvlan node drain --undo h2") {
			return fmt.Errorf("docker run says %s", fmt.Sprint(err))
		}
		return nil
	})
	c.waitState([]*lab.Host{h1}, "h2", ready)
	if n := c.nodes(h1)["h2"]; !n.Drained {
		c.t.Errorf("node ls shows %+v, want h2 drained", n)
	}
	c.oneOwner(stays, h2)
	c.run(h1, "lan1", "elsewhere")
	c.audit() // the refused containers left nothing
	// The mark is the node's own description, which the node writes too.
	if err := c.agents[1].Restart(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(h2)
	c.waitState([]*lab.Host{h1}, "h2", ready)
	if n := c.nodes(h1)["h2"]; !n.Drained {
		c.t.Errorf("after a restart node ls shows %+v, want h2 drained still", n)
	}
	h2.MustExec(c.t, c.binary, "node", "drain", "--undo", "h2")
	eventually(c.t, "h2 to take containers again", func() error {
		_, err := h2.Docker(c.t.Context(), "run", "--rm", "--network", "lan1", "busybox", "true")
		return err
	})
}

// nodeEvicted: a node whose agent is gone loses its names and addresses;
// while its containers answer, only by force. What is free when it returns it takes again;
// the container whose address somebody has by then loses its link.
func nodeEvicted(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan2", "--subnet", "10.171.0.0/24", "-o", "parent=eth1")
	mine := c.run(h1, "lan2", "mine")
	lost, kept := c.run(h2, "lan2", "lost", "--ip", "10.171.0.70"), c.run(h2, "lan2", "kept", "--ip", "10.171.0.71")
	asks := c.asker(h1, "mine")
	asks.gets("lost", "A", lost.String())

	if _, err := h1.Exec(c.t.Context(), c.binary, "node", "evict", "h2"); err == nil || !strings.Contains(err.Error(), "its agent is connected") {
		c.t.Errorf("evicting a node that is there: %v, want it refused", err)
	}
	if err := c.agents[1].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.waitState([]*lab.Host{h1}, "h2", down)
	c.oneOwner(lost, h2)
	_, err := h1.Exec(c.t.Context(), c.binary, "node", "evict", "h2")
	if err == nil || !hasAll(err.Error(), []string{"still answer on the LAN", "lost (10.171.0.70)", "kept (10.171.0.71)", "--force"}) {
		c.t.Errorf("evicting a node whose containers answer: %v, want it refused, naming them", err)
	}
	c.waitState([]*lab.Host{h1}, "h2", down) // nothing was done to it
	h1.MustExec(c.t, c.binary, "node", "evict", "--force", "h2")
	c.waitState([]*lab.Host{h1}, "h2", evicted)
	asks.getsNothing("lost", "A")
	c.refused(h1, "address 10.171.0.70 was in use a moment ago and rests", "run", "--rm", "--network", "lan2", "--ip", lost.String(), "busybox", "true")
	h1.MustDocker(c.t, "run", "--rm", "--network", "lan2", "busybox", "true") // others are given as ever

	c.endRest("h2") // the containers still answer: they rest on
	c.logged(0, "still answer on the LAN: they stay in quarantine", lost.String(), kept.String())
	if err := c.LAN.Cut(h2.Machine); err != nil {
		c.t.Fatal(err)
	}
	c.endRest("h2")
	c.waitFree(lost.String())
	c.run(h1, "lan2", "taker", "--ip", lost.String()) // while it is cut off: else it would answer
	if err := c.LAN.Heal(c.t.Context(), h2.Machine); err != nil {
		c.t.Fatal(err)
	}
	c.startAgain(1)
	eventually(c.t, "one owner of each address", func() error {
		return errors.Join(c.owned(lost, h1), c.owned(kept, h2), c.owned(mine, h1))
	})
	c.logged(1, "this node was evicted")
	c.logged(1, "has another holder: its link is taken down", lost.String())
	c.waitState(c.Hosts, "h2", ready)
	asks.gets("kept", "A", kept.String())
	asks.gets("taker", "A", lost.String())
	c.run(h2, "lan2", "new")
	h2.MustDocker(c.t, "rm", "-f", "lost")
	c.oneOwner(lost, h1)
}

// endRest does what time does to the rest of an evicted node's addresses: its
// lease ends. Whoever can asks the LAN then.
func (c *cluster) endRest(node string) {
	c.t.Helper()
	eventually(c.t, "the rest of addresses of "+node, func() error {
		got, err := c.store.Delete(c.t.Context(), prefix+store.RestKey(node))
		if err == nil && got.Deleted != 1 {
			err = errors.New("none rest")
		}
		return err
	})
}

// waitFree waits until etcd has nothing of an address.
func (c *cluster) waitFree(addr string) {
	c.t.Helper()
	eventually(c.t, addr+" to be free", func() error {
		for _, it := range c.list(store.AllLeasesSpan()) {
			if _, at, err := store.LeaseOf(it.Key); err == nil && at.String() == addr {
				return fmt.Errorf("etcd has %s", it.Value)
			}
		}
		return nil
	})
}
