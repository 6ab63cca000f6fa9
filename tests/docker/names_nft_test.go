package docker_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"gvlan/tests/lab"
)

// TestNamesWithoutNftables: on a kernel without nftables containers start as
// ever and Docker's resolver stays what it is; the agent says so once. Other
// hosts know the names of that one, and its own listener all of them.
func TestNamesWithoutNftables(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(2, release), late: 1})
			c.agents[1] = c.agentWithoutNftables(c.Hosts[1])
			c.waitTrusted(c.Hosts[1])
			n := &named{cluster: c, upstream: c.newUpstream()}
			n.scenario("without nftables", namesWithoutNftables)
		})
	}
}

// agentWithoutNftables starts an agent for which the kernel has no nftables.
func (c *cluster) agentWithoutNftables(h *lab.Host) *lab.Agent {
	c.t.Helper()
	launcher := must(lab.Build(c.t.Context(), "gvlan/tests/docker/withoutnft"))(c.t)
	args := append([]string{c.binary, "agent", "--node-name", h.Name}, c.args...)
	return must(h.StartAgent(c.t.Context(), lab.AgentOptions{Binary: launcher, Args: args}))(c.t)
}

func namesWithoutNftables(n *named) {
	n.dualNetwork("old", 8)
	with, without := n.Hosts[0], n.Hosts[1]
	far := n.start(with, "old", 8, "far")
	asks, near := n.start(without, "old", 8, "asks"), n.start(without, "old", 8, "near")

	asks.gets("near", "A", near.v4)
	asks.gets(external, "A", externalAddr)
	asks.neverGets("far", "A")
	asks.neverGets("far.old.gvlan.internal", "A")
	if got := asks.rules(); got != "" {
		n.t.Errorf("asks has rules %q, want none", got)
	}
	n.saidOnce(1, "names are not answered inside containers on this host")

	far.gets("near", "A", near.v4)
	far.gets(reverse(n.t, netip.MustParseAddr(near.v4)), "PTR", "near.old.gvlan.internal.")
	n.listenerKnows(without, "far.old.gvlan.internal", far.v4)

	without.MustDocker(n.t, "restart", "asks")
	n.member(without, "old", "asks").gets("near", "A", near.v4)
	n.saidOnce(1, "names are not answered inside containers on this host")
}

// saidOnce waits until an agent logged these words, and fails when it did so
// more than once.
func (n *named) saidOnce(i int, words string) {
	n.t.Helper()
	n.logged(i, words)
	text := must(os.ReadFile(n.agents[i].Log))(n.t)
	if times := strings.Count(string(text), words); times != 1 {
		n.t.Errorf("the agent of %s said %q %d times, want once", n.Hosts[i].Name, words, times)
	}
}

// listenerKnows waits until a host's own listener answers a full name.
func (n *named) listenerKnows(h *lab.Host, name, addr string) {
	n.t.Helper()
	eventually(n.t, "the listener of "+h.Name+" to know "+name, func() error {
		conn, err := h.DialContext(n.t.Context(), "udp", "127.0.0.1:5354")
		if err != nil {
			return err
		}
		defer conn.Close()
		m, _, err := new(miekg.Client).ExchangeWithConn(question(name, miekg.TypeA), &miekg.Conn{Conn: conn})
		if err == nil && (len(m.Answer) != 1 || data(m.Answer)[0] != addr) {
			err = fmt.Errorf("it answers\n%v", m)
		}
		return err
	})
}
