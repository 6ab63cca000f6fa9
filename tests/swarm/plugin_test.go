package swarm_test

import (
	"fmt"
	"slices"
	"strings"

	"gvlan/tests/lab"
)

// plain is the network that a socket agent serves beside the swarm's.
const plain = "plain"

// hasPlugin waits until the swarm would give a node tasks that need the
// plugin: a node tells its managers of its plugins now and then only.
func (c *cluster) hasPlugin(h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "the swarm to know the plugin of "+h.Name, func() error {
		plugins, err := c.ask.Docker(c.t.Context(), "node", "inspect", "-f", "{{json .Description.Engine.Plugins}}", h.Name)
		if err == nil && !strings.Contains(plugins, `"`+alias+`"`) {
			err = fmt.Errorf("it knows %s", plugins)
		}
		return err
	})
}

// socketAgentBeside: plain networks on a swarm node, from the socket agent.
func socketAgentBeside(c *cluster) {
	h := c.Hosts[0]
	agent := must(h.StartAgent(c.t.Context(), lab.AgentOptions{
		Binary: c.binary,
		Args:   []string{"agent", "--node-name", h.Name, "--log-level", "debug"},
		Env:    c.access,
	}))(c.t)
	c.trusts(h)
	h.MustDocker(c.t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.89.0.0/24", "-o", "parent=eth1", plain)
	for _, name := range []string{"one", "two"} {
		h.MustDocker(c.t, "run", "-d", "--stop-signal", "KILL", "--network", plain, "--name", name, "busybox", "sleep", "100000")
	}
	c.audit()
	all := must(c.containersOn(h))(c.t)
	one := all[slices.IndexFunc(all, func(x container) bool { return x.name == "one" })]
	two := all[slices.IndexFunc(all, func(x container) bool { return x.name == "two" })]
	c.reaches(one, two.addr.String())
	c.service("beside", "lan", 3, "--endpoint-mode", "dnsrr")
	c.settled("beside", 3)
	c.eachSees(h, agent)
	c.oneHost(h)
	c.ask.MustDocker(c.t, "service", "rm", "beside")
	h.MustDocker(c.t, "rm", "-f", "one", "two")
	h.MustDocker(c.t, "network", "rm", plain)
	c.forgotten(plain)
	c.audit()
	if err := agent.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	// The socket agent is given up, and its host goes on with the plugin.
	h.MustExec(c.t, c.binary, "node", "evict", "--swarm", h.Name)
	if row := c.nodeRow(h, "--swarm"); !strings.Contains(row, " evicted; swarm: ready ") {
		c.t.Errorf("after the socket agent of %s was evicted node ls shows %q", h.Name, row)
	}
}

// oneHost: whoever looks sees one host with two agents, and nobody waits for
// plugins to make a plain network.
func (c *cluster) oneHost(h *lab.Host) {
	c.t.Helper()
	const ours = "ours"
	made := h.MustExec(c.t, c.binary, "network", "create", "--subnet", "10.93.0.0/24", "-o", "parent=eth1", ours)
	if rows := strings.Split(strings.TrimSpace(made), "\n"); len(rows) != 2 || !strings.HasPrefix(oneBlank(rows[1]), "h1 connected ready ") {
		c.t.Errorf("network create says\n%s\nwant h1 alone, ready", made)
	}
	c.says(h.MustExec(c.t, c.binary, "network", "ls"), ours+" global active 10.93.0.0/24 1/1 ", plain+" global active 10.89.0.0/24 1/1 ", "lan swarm active 10.88.0.0/24 3 ")
	h.MustExec(c.t, c.binary, "network", "rm", ours)
	c.forgotten(ours)
	for _, flag := range []string{"", "--swarm"} {
		if row := c.nodeRow(h, flag); !strings.HasPrefix(row, "h1 ready ") || !strings.Contains(row, " socket,swarm ") {
			c.t.Errorf("node ls %s shows h1 as %q, want one row of two agents that are ready", flag, row)
		}
		c.says(h.MustExec(c.t, c.binary, append([]string{"node", "inspect", "h1"}, strings.Fields(flag)...)...), "node h1 (id h1,", "node h1 (id h1.swarm,", plain+" ready", "lan ready")
		for line := range strings.Lines(h.MustExec(c.t, c.binary, append([]string{"dns", "ls"}, strings.Fields(flag)...)...)) {
			if host := line[strings.LastIndex(line, " ")+1:]; !slices.Contains([]string{"NODE", "h1", "h2", "h3"}, strings.TrimSpace(host)) {
				c.t.Errorf("dns ls %s says of a host: %q", flag, line)
			}
		}
	}
}

// nodeRow is the only row of a host in node ls, its columns one blank apart.
func (c *cluster) nodeRow(h *lab.Host, flag string) string {
	c.t.Helper()
	var rows []string
	for line := range strings.Lines(c.Hosts[0].MustExec(c.t, c.binary, append([]string{"node", "ls", "--wide"}, strings.Fields(flag)...)...)) {
		if line = oneBlank(line); strings.HasPrefix(line, h.Name+" ") || strings.HasPrefix(line, h.Name+".") {
			rows = append(rows, line)
		}
	}
	if len(rows) != 1 {
		c.t.Errorf("node ls %s shows %s in %d rows, want one: %q", flag, h.Name, len(rows), rows)
		return ""
	}
	return rows[0]
}

// says asserts that lines of a table are there, whatever its columns' widths.
func (c *cluster) says(out string, want ...string) {
	c.t.Helper()
	for _, w := range want {
		if !strings.Contains(oneBlank(out), w) {
			c.t.Errorf("printed\n%s\nwant %q in it", out, w)
		}
	}
}

func oneBlank(text string) string { return strings.Join(strings.Fields(text), " ") }

// eachSees: either knows its own network alone, and the socket agent reports
// a managed plugin that has its name.
func (c *cluster) eachSees(h *lab.Host, agent *lab.Agent) {
	c.t.Helper()
	for flags, want := range map[string]string{"": plain, "--swarm": "lan"} {
		s := must(c.status(h, strings.Fields(flags)...))(c.t)
		if len(s.Networks) != 1 || s.Networks[0].Name != want {
			c.t.Errorf("status %s on %s shows %+v, want %s alone", flags, h.Name, s.Networks, want)
		}
	}
	// build.sh refuses the name, Docker does not.
	if err := c.buildPlugin(h, "gvlan"); err == nil || !strings.Contains(err.Error(), "must not be called gvlan") {
		c.t.Errorf("build.sh gvlan: %v, want it refused", err)
	}
	// An engine takes no content twice.
	h.MustExec(c.t, "sh", "-ec", `cd "$0"; cp -r build other; echo other >other/rootfs/other
		sed -i s/gvlan:/other:/ other/config.json; docker plugin create gvlan other`, c.Dir+"/tree-"+h.Name+"/deploy/plugin")
	c.warns(h, "managed plugin")
	h.MustDocker(c.t, "plugin", "rm", "gvlan:latest")
}
