package docker_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestCommands types gvlan's own commands as README shows them.
func TestCommands(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		c.scenario("network create, ls, inspect, rm", commandCreate)
		c.scenario("network of one host", commandLocal)
		c.scenario("network without a parent anywhere", commandNoParent)
		c.scenario("network rm refuses and forces", commandRemove)
		c.scenario("network set", commandSet)
		c.scenario("network import", commandImport)
		c.scenario("node ls, inspect, drain", commandNode)
		c.scenario("members", commandMembers)
		c.scenario("dns ls and lookup", commandNames)
	})
}

// gvlan runs a command of the operator on a host.
func (c *cluster) gvlan(h *lab.Host, args ...string) string {
	c.t.Helper()
	return h.MustExec(c.t, c.binary, args...)
}

// refuses runs a command that must fail and say why with these words.
func (c *cluster) refuses(h *lab.Host, words string, args ...string) {
	c.t.Helper()
	out, err := h.Exec(c.t.Context(), c.binary, args...)
	if err == nil {
		c.t.Errorf("gvlan %s succeeded with %q, want it refused: %s", strings.Join(args, " "), out, words)
	} else if !strings.Contains(err.Error(), words) {
		c.t.Errorf("gvlan %s says %v, want %q in it", strings.Join(args, " "), err, words)
	}
}

// says compares an output with lines, each given as the words it begins
// with; columns may have any width.
func (c *cluster) says(out string, lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		found := false
		for line := range strings.Lines(out) {
			found = found || strings.HasPrefix(strings.Join(strings.Fields(line), " "), want)
		}
		if !found {
			c.t.Errorf("no line begins with %q in\n%s", want, out)
		}
	}
}

// networkView is `gvlan network inspect --json`.
type networkView struct {
	Name, Scope, State, Origin string
	Hosts                      []struct {
		Node, State, Engine, Parent, Why string
		Connected                        bool
		Endpoints                        []struct{ Container, IPv4 string }
	}
}

func (c *cluster) view(h *lab.Host, name string) (v networkView) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.gvlan(h, "network", "inspect", "--json", name)), &v); err != nil {
		c.t.Fatal(err)
	}
	return v
}

// commandCreate: one command, an answer per host, and the same network that
// Docker's command makes.
func commandCreate(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	out := c.gvlan(h2, "network", "create", "--subnet", "10.180.0.0/24", "--ip-range", "10.180.0.64/26", "--gateway", "10.180.0.254",
		"--aux-address", "nas=10.180.0.64", "--label", "team=a", "--ipam-opt", "exclude=10.180.0.65", "-o", "parent=eth7, eth1", "lan1")
	c.says(out, "NODE AGENT NETWORK PARENT NOW", "h1 connected ready eth1", "h2 connected ready eth1")
	c.refuses(h1, "network lan1 is defined already", "network", "create", "--subnet", "10.181.0.0/24", "-o", "parent=eth1", "lan1")
	c.refuses(h1, "-o parents is unknown: did you mean parent?", "network", "create", "--subnet", "10.181.0.0/24", "-o", "parents=eth1", "lan2")
	c.refuses(h1, `--gateway 10.9.9.9 lies in no --subnet`, "network", "create", "--subnet", "10.181.0.0/24", "--gateway", "10.9.9.9", "lan2")
	if label := h1.MustDocker(c.t, "network", "inspect", "-f", "{{.Labels.team}}", "lan1"); label != "a" {
		c.t.Errorf("label team on h1 is %q, want a", label)
	}
	if web := c.run(h1, "lan1", "web"); web != netip.MustParseAddr("10.180.0.66") {
		c.t.Errorf("web has %s, want the first of the range that is neither aux nor excluded", web)
	}
	c.audit()
	c.says(c.gvlan(h2, "network", "ls"), "NETWORK SCOPE STATE", "lan1 global active 10.180.0.0/24 2/2 1")
	inspected := c.gvlan(h2, "network", "inspect", "lan1")
	c.says(inspected, "network lan1 (", "state active, scope global, made on h2",
		"subnet 10.180.0.0/24, addresses from 10.180.0.64/26, gateway 10.180.0.254", "option parent=eth7, eth1", "web h1 10.180.0.66")
	v := c.view(h1, "lan1")
	for i, h := range c.Hosts {
		if v.Hosts[i].Engine != c.networkID(h, "lan1") {
			c.t.Errorf("inspect shows engine network %.12s on %s, want %.12s", v.Hosts[i].Engine, h.Name, c.networkID(h, "lan1"))
		}
	}
	h1.MustDocker(c.t, "rm", "-f", "web")
	c.audit()
	if out := c.gvlan(h1, "network", "rm", "lan1"); out != "lan1" {
		c.t.Errorf("network rm prints %q, want lan1", out)
	}
	for _, h := range c.Hosts {
		if slices.Contains(c.networks(h), "lan1") {
			c.t.Errorf("lan1 is on %s after network rm returned", h.Name)
		}
	}
	c.refuses(h1, "no such network: lan1", "network", "inspect", "lan1")
	c.refuses(h1, "no such network: lan1", "network", "rm", "lan1")
}

// commandLocal: a network of one host is shown by the commands of all, is no
// other host's, and its first container does not get the host's own address.
func commandLocal(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.create(h1, "own", "-o", "scope=local", "--subnet", "10.99.0.0/24", "--gateway", "10.99.0.254", "-o", "parent=eth1")
	own := netip.MustParseAddr("10.99.0.1")
	web := c.run(h1, "own", "web")
	if web == own || web == netip.MustParseAddr("10.99.0.2") {
		c.t.Errorf("web has %s, which is a host's own", web)
	}
	for _, addr := range []string{"10.99.0.1", "10.99.0.2"} {
		host := map[string]string{"10.99.0.1": "h1", "10.99.0.2": "h2"}[addr]
		c.refused(h1, "address "+addr+" is host "+host+"'s own", sleeper("own", "bad", "--ip", addr)...)
		h1.MustDocker(c.t, "rm", "-f", "bad")
	}
	eventually(c.t, "the network in the list of both hosts", func() error {
		for _, h := range c.Hosts {
			if out := c.gvlan(h, "network", "ls"); !strings.Contains(strings.Join(strings.Fields(out), " "), "own local active 10.99.0.0/24 1/1 1") {
				return fmt.Errorf("%s lists\n%s", h.Name, out)
			}
		}
		return nil
	})
	c.says(c.gvlan(h2, "network", "inspect", "own"), "network own (", "state active, scope local, made on h1", "h1 connected ready eth1", "web h1 "+web.String())
	c.refuses(h1, "own is a network of this host only", "network", "set", "own", "exclude+=10.99.0.9")
	if names := c.networks(h2); slices.Contains(names, "own") {
		c.t.Errorf("h2 has the local network of h1: %v", names)
	}
	c.audit()
}

// commandNoParent: a network that no host can use is made, since one may come
// that can, and says so.
func commandNoParent(c *cluster) {
	h1 := c.Hosts[0]
	out, err := h1.Exec(c.t.Context(), "sh", "-c", c.binary+" network create --subnet 10.188.0.0/24 -o parent=eth9 lost 2>&1")
	if err != nil || !strings.Contains(out, "warning: no container can start on it here now: no usable parent interface") {
		c.t.Errorf("network create says %q, %v, want a warning", out, err)
	}
	eventually(c.t, "no host to count as able", func() error {
		out := c.gvlan(h1, "network", "ls")
		if words := strings.Join(strings.Fields(out), " "); !strings.Contains(words, "lost global active 10.188.0.0/24 0/2 0") || !strings.Contains(words, "lost on h1: no usable parent") {
			return fmt.Errorf("listed is\n%s", out)
		}
		return nil
	})
}

// commandRemove names who is in the way, and puts them out when told.
func commandRemove(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.182.0.0/24", "-o", "parent=eth1")
	c.run(h1, "lan1", "web")
	c.run(h2, "lan1", "old")
	h2.MustDocker(c.t, "stop", "old")
	c.waitRefs(h1, "web")
	c.waitRefs(h2, "old")
	c.refuses(h2, "lan1 is used by web on h1, old on h2 (--force disconnects them)", "network", "rm", "lan1")
	c.waitNetwork(h1, "lan1")
	c.gvlan(h2, "network", "rm", "--force", "lan1")
	c.waitNoNetwork(h1, "lan1")
	c.waitNoNetwork(h2, "lan1")
	c.wantInterfaces(h1, "web")
}

// commandSet changes a living network on all hosts.
func commandSet(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.183.0.0/24", "--ip-range", "10.183.0.16/30", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	id := c.networkID(h2, "lan1")
	c.refuses(h1, "a network keeps subnet as it was made", "network", "set", "lan1", "subnet=10.9.0.0/24")
	c.refuses(h1, "did you mean parent?", "network", "set", "lan1", "parents=eth1")
	c.refuses(h1, "range 10.9.0.0/30 lies in no subnet", "network", "set", "lan1", "range+=10.9.0.0/30")
	c.refuses(h1, "no such network: lan9", "network", "set", "lan9", "parent=eth1")

	c.gvlan(h1, "network", "set", "lan1", "exclude=10.183.0.16-10.183.0.19", "range+=10.183.0.32/30")
	c.says(c.gvlan(h2, "network", "inspect", "lan1"), "changed exclude=10.183.0.16-10.183.0.19", "changed range+=10.183.0.32/30")
	eventually(c.t, "an address of the new range on h2", func() error {
		if db := c.run(h2, "lan1", "db"); !netip.MustParsePrefix("10.183.0.32/30").Contains(db) {
			h2.MustDocker(c.t, "rm", "-f", "db")
			return fmt.Errorf("db got %s", db)
		}
		return nil
	})
	c.reaches(h2, "db", web)

	c.refuses(h1, "give a time of at most 1h", "network", "set", "lan1", "cooldown=1d")
	c.gvlan(h1, "network", "set", "lan1", "cooldown=1h")
	c.says(c.gvlan(h2, "network", "inspect", "lan1"), "changed cooldown=1h0m0s")
	eventually(c.t, "an address to rest on the other host", func() error {
		left := c.run(h1, "lan1", "leaving")
		h1.MustDocker(c.t, "rm", "-f", "leaving")
		given := c.run(h2, "lan1", "coming")
		h2.MustDocker(c.t, "rm", "-f", "coming")
		if given == left {
			return fmt.Errorf("%s was given again at once", left)
		}
		return nil
	})
	c.gvlan(h1, "network", "set", "lan1", "cooldown=0")

	c.gvlan(h1, "network", "set", "lan1", "parent=eth9")
	c.parentNow(h2, "lan1", "")
	c.refused(h2, "eth9", "run", "--rm", "--network", "lan1", "busybox", "true")
	c.gvlan(h2, "network", "set", "lan1", "parent=eth9, eth1")
	c.parentNow(h1, "lan1", "eth1")
	c.parentNow(h2, "lan1", "eth1")
	c.run(h2, "lan1", "next")
	c.reaches(h2, "next", web)
	if again := c.networkID(h2, "lan1"); again != id {
		c.t.Errorf("the network of h2 was made again: %.12s, was %.12s", again, id)
	}
	if said := h2.MustDocker(c.t, "network", "inspect", "-f", "{{.Options.parent}}", "lan1"); said != "eth1" {
		c.t.Errorf("Docker shows parent %q, want what it was told, eth1", said)
	}
}

// parentNow waits until a host says what a container would hang from.
func (c *cluster) parentNow(h *lab.Host, name, parent string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%s to hang from %q on %s", name, parent, h.Name), func() error {
		for _, host := range c.view(h, name).Hosts {
			if host.Node == h.Name && host.Parent == parent {
				return nil
			}
		}
		return fmt.Errorf("it says %+v", c.view(h, name).Hosts)
	})
}

// commandImport takes a built-in network over by the steps it prints.
func commandImport(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	h1.MustDocker(c.t, "network", "create", "-d", "macvlan", "--subnet", "10.184.0.0/24", "--gateway", "10.184.0.254", "-o", "parent=eth1", "old")
	web := c.run(h1, "old", "web", "--network-alias", "www", "--mac-address", "02:11:22:33:44:55")
	h1.MustDocker(c.t, sleeper("old", "idle", "--ip", "10.184.0.77")...)
	h1.MustDocker(c.t, "stop", "idle")
	h1.MustDocker(c.t, "network", "create", "-d", "bridge", "apps")
	c.refuses(h1, "network apps is of driver bridge: only macvlan and ipvlan networks are on the LAN", "network", "import", "apps")
	c.refuses(h1, "this host's engine has no network nope", "network", "import", "nope")
	steps := c.gvlan(h1, "network", "import", "old")
	c.refuses(h1, "called old already", "network", "import", "old")
	c.waitNetwork(h2, "old")
	for _, held := range []string{web.String(), "10.184.0.77"} {
		c.refused(h2, held, "run", "--rm", "--network", "old", "--ip", held, "busybox", "true")
	}
	for step := range strings.Lines(steps) {
		if strings.HasPrefix(step, "#") {
			if strings.Contains(step, "gvlan makes its own") {
				c.waitNetwork(h1, "old")
			}
			continue
		}
		h1.MustExec(c.t, "sh", "-c", step)
	}
	h1.MustDocker(c.t, "start", "idle")
	if again := c.address(h1, "old", "web"); again != web {
		c.t.Errorf("web has %s now, want %s as before", again, web)
	}
	if mac := c.inspect(h1, "old", "web").MacAddress; mac != "02:11:22:33:44:55" {
		c.t.Errorf("web has the MAC %s now, want its own as before", mac)
	}
	db := c.run(h2, "old", "db")
	h2.MustDocker(c.t, "exec", "db", "ping", "-c", "1", "-w", "10", "www")
	c.reaches(h1, "web", db)
	c.reaches(h2, "db", netip.MustParseAddr("10.184.0.77"))
	c.oneOwner(web, h1)
	h1.MustDocker(c.t, "network", "rm", "apps")
}

func commandNode(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.185.0.0/24", "-o", "parent=eth1")
	db := c.run(h2, "lan1", "db")
	c.audit()
	eventually(c.t, "h2 to tell what it has", func() error {
		if out := c.gvlan(h1, "node", "ls"); !strings.Contains(out, "eth1") {
			return fmt.Errorf("node ls says\n%s", out)
		}
		return nil
	})
	c.says(c.gvlan(h1, "node", "ls"), "NODE STATE FOR ADDRESS", "h1 ready", "h2 ready")
	c.says(c.gvlan(h1, "node", "inspect", "h2"), "node h2 (id h2, address 10.99.0.2)", "eth1 ", "lan1 ready eth1")
	c.refuses(h1, "no node is called h9", "node", "inspect", "h9")
	c.refuses(h1, "no node is called h9", "node", "drain", "h9")

	c.gvlan(h1, "node", "drain", "h2")
	eventually(c.t, "h2 to be drained", func() error {
		_, err := h2.Docker(c.t.Context(), "run", "--rm", "--network", "lan1", "busybox", "true")
		if err == nil || !strings.Contains(err.Error(), "node h2 takes no new containers") {
			return fmt.Errorf("docker run: %s", fmt.Sprint(err))
		}
		return nil
	})
	eventually(c.t, "h1 to know of it", func() error {
		if out := c.gvlan(h1, "node", "ls"); !strings.Contains(out, "ready, drained") {
			return fmt.Errorf("node ls says\n%s", out)
		}
		return nil
	})
	web := c.run(h1, "lan1", "web")
	c.reaches(h1, "web", db) // what runs there stays
	c.gvlan(h2, "node", "drain", "--undo", "h2")
	eventually(c.t, "h2 to take containers again", func() error {
		_, err := h2.Docker(c.t.Context(), "run", "--rm", "--network", "lan1", "busybox", "ping", "-c1", "-w10", web.String())
		return err
	})
}

func commandMembers(c *cluster) {
	for _, h := range c.Hosts {
		eventually(c.t, "both members on "+h.Name, func() error {
			out := c.gvlan(h, "members")
			lines := []string{"h1 10.99.0.1:7947 answers", "h2 10.99.0.2:7947 answers"}
			if slices.Contains(c.args, "off") {
				lines = []string{"h1 - -", "h2 - -"} // etcd's word alone
			}
			for _, line := range lines {
				if !strings.Contains(strings.Join(strings.Fields(out), " "), line) {
					return fmt.Errorf("no %q in\n%s", line, out)
				}
			}
			return nil
		})
	}
}

func commandNames(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.186.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web", "--network-alias", "www")
	c.run(h2, "lan1", "db")
	eventually(c.t, "h2 to know web", func() error {
		out := c.gvlan(h2, "dns", "ls")
		if !strings.Contains(out, "web") || !strings.Contains(out, "www") {
			return fmt.Errorf("dns ls says\n%s", out)
		}
		return nil
	})
	for _, name := range []string{"web", "www", "web.lan1", "web.lan1.gvlan.internal"} {
		if out := c.gvlan(h2, "dns", "lookup", name, "--from", "db"); !strings.Contains(out, web.String()) {
			c.t.Errorf("dns lookup %s --from db says %q, want %s", name, out, web)
		}
	}
	c.refuses(h2, "no name of gvlan's", "dns", "lookup", "example.org", "--from", "db")
}
