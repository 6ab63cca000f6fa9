package docker_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

// manners are what a command says where it cannot do what it is for.
type manners struct {
	status int
	says   string // on stdout or stderr
}

// withoutStore are the commands that do what they are for with a store that does
// not answer, or fail for another reason; all others say that etcd does not.
var withoutStore = map[string]manners{
	"backup": {0, "at revision"}, "restore": {1, "nothing was done"}, "init": {1, "of a cluster already"}, "join": {1, "of a cluster already"},
	"recover": {1, "nothing to recover"}, "network import": {1, "has no network old"}, "status": {3, "etcd does not answer"}, "members": {0, "silent"},
	"dns counts": {0, ""}, "dns lookup": {0, "web.lan1.gvlan.internal."}, "dns ls": {0, "web"}, "dns setup": {0, "gvlan.internal"},
	"events": {0, "etcd does not answer"}, "network ls": {0, "etcd does not answer this host"}, "network inspect": {0, "etcd does not answer this host"},
	"node ls": {0, "etcd does not answer this host"}, "node inspect": {0, "unreachable"}, "lease ls": {0, "etcd does not answer this host"},
	"lease show": {0, "etcd does not answer this host"}, "whois": {0, "etcd does not answer this host"},
	"pool ls": {0, "etcd does not answer this host"}, "store ls": {0, "the store does not answer this host"},
	"route ls": {0, "no routes to containers of other hosts"}, "bgp": {0, "BGP is off on this host"},
	"web": {124, "http://127.0.0.1:8470/?key="}, // it serves until timeout ends it
}

// TestManners types every command without root, without a store that answers,
// and without an agent: each ends soon, says why on stderr and what cures it, and
// shows what it can.
func TestManners(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	c.formed(c.Hosts...)
	h1 := c.Hosts[0]
	h1.MustExec(t, "ln", "-s", c.binary, "/usr/bin/gvlan")
	c.network(h1, "lan1", "--subnet", "10.230.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web").String()
	eventually(t, "the name of web", func() error {
		_, err := h1.Exec(t.Context(), "gvlan", "dns", "lookup", "web.lan1.gvlan.internal")
		return err
	})
	given := map[string]string{
		"backup": "/tmp/b", "restore": "/tmp/b", "dns lookup": "web.lan1.gvlan.internal", "join": "10.99.0.2 gvlan1-x",
		"network create": "--subnet 10.231.0.0/24 -o parent=eth1 lan2", "network inspect": "lan1", "network rm": "lan1", "network set": "lan1 cooldown=30s", "network import": "old",
		"node drain": "h2", "node evict": "h2", "node inspect": "h2", "store size": "3", "whois": web, "lease show": web, "lease release": web,
		"reserve": "lan1 10.230.0.9", "unreserve": "lan1 10.230.0.9",
	}
	alone := []string{"agent", "config check", "config reference", "version", "doctor", "support", "cleanup"} // ask nobody, or do without
	asking := slices.DeleteFunc(c.commands(), func(command string) bool { return slices.Contains(alone, command) })
	if len(asking) < 30 {
		t.Errorf("%d commands ask the agent, want at least 30", len(asking))
	}
	types := func(where, before, command string, want manners) {
		t.Helper()
		s := c.typed(h1, before+"timeout 60 gvlan "+command+" "+given[command])
		if s.status != want.status || !strings.Contains(s.out+s.err, want.says) || want.status == 1 && !strings.Contains(s.err, "gvlan: ") {
			t.Errorf("%s, gvlan %s ends with %d, want %d and %q in\n%s--\n%s", where, command, s.status, want.status, want.says, s.out, s.err)
		}
	}
	for _, command := range asking {
		types("without root", "setpriv --reuid=65534 --clear-groups ", command, manners{1, "is root's: run this command as root"})
	}

	for _, agent := range c.agents[1:] {
		if err := agent.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "two silent members", func() error {
		_, err := h1.Exec(t.Context(), "sh", "-c", "test $(gvlan members | grep -c silent) = 2 && gvlan network ls | grep 'etcd does not answer'")
		return err
	})
	var group errgroup.Group
	group.SetLimit(4) // most of them wait for the store
	for _, command := range asking {
		if command == "store recover" { // that is when it works: see TestOneLeft
			continue
		}
		want, is := withoutStore[command]
		if !is {
			want = manners{1, "etcd does not answer"}
		}
		group.Go(func() error { types("without a store", "", command, want); return nil })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	if err := c.agents[0].Kill(); err != nil {
		t.Fatal(err)
	}
	for _, command := range asking {
		types("without an agent", "", command, manners{1, "no agent answers at /run/gvlan/gvlan.sock: start it (systemctl start gvlan)"})
	}
}
