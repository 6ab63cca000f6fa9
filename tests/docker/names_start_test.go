package docker_test

import (
	"fmt"
	"os"
	"strings"

	"gvlan/tests/lab"
)

// namesFromTheFirstQuestion: what a container asks first is answered, on
// engines from 28 on by the first process; before, the namespace is made
// after Join, and we follow it. The container's resolv.conf is Docker's, and
// what it says rules as ever.
func namesFromTheFirstQuestion(n *named) {
	n.dualNetwork("early", 9)
	h1, h2 := n.Hosts[0], n.Hosts[1]
	far := n.start(h2, "early", 9, "far")
	n.start(h1, "early", 9, "near").gets("far", "A", far.v4)
	ask := "nslookup far."
	if h1.Engine.Release == lab.Docker20 {
		ask = "until nslookup far.; do :; done"
	}
	for range 10 {
		out, err := h1.Docker(n.t.Context(), "run", "--rm", "--network", "early", "busybox", "sh", "-c", ask)
		if err := wantText(out, err, far.v4); err != nil {
			n.t.Errorf("the first process of a container asks for far: %v", err)
		}
	}
	n.sameResolvConf(h1)
	search := n.start(h1, "early", 9, "search", "--dns-search", "example.com")
	search.wantRules("gvlan_dns")
	out, _ := h1.Docker(n.t.Context(), "exec", "search", "ping", "-c1", "-W1", "www") // nobody has that address
	if !strings.Contains(out, "PING www ("+externalAddr+")") {
		n.t.Errorf("with --dns-search example.com ping www says %q, want it to find %s", out, externalAddr)
	}
}

// sameResolvConf: containers on our networks and on Docker's have the same.
func (n *named) sameResolvConf(h *lab.Host) {
	n.t.Helper()
	h.MustDocker(n.t, "network", "create", "bridged")
	defer h.MustDocker(n.t, "network", "rm", "bridged")
	read := func(network string) string {
		return h.MustDocker(n.t, "run", "--rm", "--network", network, "--dns", "192.0.2.53", "--dns-search", "example.com", "--dns-opt", "ndots:2",
			"busybox", "cat", "/etc/resolv.conf")
	}
	if ours, theirs := read("early"), read("bridged"); ours != theirs {
		n.t.Errorf("resolv.conf is\n%s\nwant what Docker writes\n%s", ours, theirs)
	}
}

// namesOfACrashedEngine: names stay while the engine does not answer, and
// those of what died meanwhile go when it is back.
func namesOfACrashedEngine(n *named) {
	n.dualNetwork("crash", 9)
	h1, h2 := n.Hosts[0], n.Hosts[1]
	asks := n.start(h1, "crash", 9, "asks")
	dies := n.start(h2, "crash", 9, "dies")
	asks.gets("dies", "A", dies.v4)
	pid := h2.MustDocker(n.t, "inspect", "-f", "{{.State.Pid}}", "dies")
	if err := h2.Engine.Kill(); err != nil {
		n.t.Fatal(err)
	}
	h2.MustExec(n.t, "sh", "-c", "kill -KILL "+pid)
	asks.gets("dies", "A", dies.v4)
	if err := h2.Engine.Start(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	asks.getsNothing("dies", "A")
	h2.MustDocker(n.t, "start", "dies")
	again := n.member(h2, "crash", "dies")
	asks.gets("dies", "A", again.v4)
	again.gets("asks", "A", asks.v4)
}

// nameOnTwoHosts: nobody but gvlan can tell that a container name is used
// twice. Both answer, and whoever owns one of them is told, once.
func nameOnTwoHosts(n *named) {
	n.dualNetwork("twice", 9)
	h1, h2, h3 := n.Hosts[0], n.Hosts[1], n.Hosts[2]
	one, two := n.start(h1, "twice", 9, "same"), n.start(h2, "twice", 9, "same")
	asks := n.start(h3, "twice", 9, "asks")
	asks.gets("same", "A", one.v4, two.v4)
	one.gets("same", "A", one.v4, two.v4)
	const words = "container name same is used on hosts h1 and h2 in network twice"
	n.saidOnce(0, words)
	n.saidOnce(1, words)
	for _, args := range []string{"dns ls", "dns ls --from asks"} {
		out, err := h3.Exec(n.t.Context(), "sh", "-c", n.binary+" "+args+" 2>&1")
		if err := wantText(out, err, "warning: "+words); err != nil {
			n.t.Errorf("gvlan %s: %v", args, err)
		}
	}
	h2.MustDocker(n.t, "restart", "same")
	asks.gets("same", "A", one.v4, n.member(h2, "twice", "same").v4)
	h2.MustDocker(n.t, "rm", "-f", "same")
	asks.gets("same", "A", one.v4)
	n.saidOnce(0, words)
	n.saidOnce(1, words)
	if text := must(os.ReadFile(n.agents[2].Log))(n.t); strings.Contains(string(text), words) {
		n.t.Errorf("h3, which owns none of them, said %q", words)
	}
	out, err := h3.Exec(n.t.Context(), "sh", "-c", n.binary+" dns ls 2>&1")
	if err == nil && strings.Contains(out, "container name same") {
		err = fmt.Errorf("it still says\n%s", out)
	}
	if err != nil {
		n.t.Errorf("gvlan dns ls when only one is left: %v", err)
	}
}
