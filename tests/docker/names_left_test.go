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

// TestNamesLeftToDocker: where gvlan does not answer names, because it cannot
// or because it is told not to.
func TestNamesLeftToDocker(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(2, release), late: 1})
			c.agents[1] = c.agentWithoutNftables(c.Hosts[1])
			c.waitTrusted(c.Hosts[1])
			n := &named{cluster: c, upstream: c.newUpstream()}
			n.scenario("without nftables", namesWithoutNftables)
			n.scenario("with --dns off", namesOff)
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

// namesWithoutNftables: on a kernel without nftables containers start as ever
// and Docker's resolver stays what it is; the agent says so once. Other hosts
// know the names of that one, and its own listener all of them.
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

// namesOff: an agent with --dns off puts nothing into containers, and serves
// nobody; the other hosts know its containers.
func namesOff(n *named) {
	n.dualNetwork("off", 9)
	off, on := n.Hosts[0], n.Hosts[1]
	if err := n.agents[0].Stop(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.agents[0] = n.agent(off, append(n.args, "--dns", "off")...)
	n.waitTrusted(off)
	asks, near, far := n.start(off, "off", 9, "asks"), n.start(off, "off", 9, "near"), n.start(on, "off", 9, "far")
	n.listenerKnows(on, "near.off.gvlan.internal", near.v4)
	asks.gets("near", "A", near.v4)
	asks.gets(external, "A", externalAddr)
	asks.neverGets("far", "A")
	asks.neverGets(reverse(n.t, netip.MustParseAddr(far.v4)), "PTR")
	if got := asks.rules(); got != "" {
		n.t.Errorf("asks has rules %q, want none", got)
	}
	if conn, err := off.DialContext(n.t.Context(), "tcp", "127.0.0.1:5354"); err == nil {
		conn.Close()
		n.t.Error("an agent with --dns off listens on 127.0.0.1:5354")
	}
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
