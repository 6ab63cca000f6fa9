package docker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// The states of `gvlan node ls`.
const (
	ready       = "ready"
	unreachable = "unreachable-by-peers"
	detached    = "detached"
	down        = "down"
	evicted     = "evicted"
)

// probeRound is longer than a round of probes over five members, each of
// which takes a second or little more.
const probeRound = 20 * time.Second

// nodeView is a line of `gvlan node ls --json`.
type nodeView struct {
	Node, Host, Address, State, Version string
	Drained, Evicted, Stale, Stopped    bool
	StaleParents                        bool
	Interfaces                          []store.Interface
	Epoch                               int64
}

// nodes are what a host's agent says of the nodes; none while it does not
// answer.
func (c *cluster) nodes(h *lab.Host) map[string]nodeView {
	c.t.Helper()
	return listing(c, h, func(n nodeView) string { return n.Node }, "node", "ls", "--json")
}

// memberView is a line of `gvlan members --json`.
type memberView struct {
	Node, Address, Gossip, Etcd string
	Direct                      time.Time
	Applied                     int64
	Parents                     string
	Remarks                     []string
}

func (c *cluster) members(h *lab.Host) map[string]memberView {
	c.t.Helper()
	return listing(c, h, func(m memberView) string { return m.Node }, "members", "--json")
}

// listing runs a command that prints a list in JSON.
func listing[T any](c *cluster, h *lab.Host, name func(T) string, args ...string) map[string]T {
	c.t.Helper()
	out, err := h.Exec(c.t.Context(), c.binary, args...)
	if err != nil {
		c.t.Logf("gvlan %s: %v", strings.Join(args, " "), err)
		return nil
	}
	var all []T
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		c.t.Fatalf("gvlan %s on %s: %v in %q", strings.Join(args, " "), h.Name, err, out)
	}
	byName := map[string]T{}
	for _, v := range all {
		byName[name(v)] = v
	}
	return byName
}

// waitState waits until each of the hosts shows a node in a state.
func (c *cluster) waitState(on []*lab.Host, node, state string) {
	c.t.Helper()
	for _, h := range on {
		eventually(c.t, fmt.Sprintf("%s to show %s as %s", h.Name, node, state), func() error {
			if got := c.nodes(h)[node]; got.State != state {
				return fmt.Errorf("it shows %+v", got)
			}
			return nil
		})
	}
}

// allReady waits until every host shows every host as ready, with all that
// is known of it.
func (c *cluster) allReady() {
	c.t.Helper()
	for _, h := range c.Hosts {
		eventually(c.t, h.Name+" to show every node as ready", func() error {
			nodes := c.nodes(h)
			if len(nodes) != len(c.Hosts) {
				return fmt.Errorf("it shows %+v", nodes)
			}
			for _, other := range c.Hosts {
				n := nodes[other.Name]
				if n.State != ready || n.Stale || n.Host != other.Name || n.Address != other.Addr4.String() || n.Version == "" || n.Epoch == 0 {
					return fmt.Errorf("it shows %+v", n)
				}
			}
			return nil
		})
	}
}

// others are all hosts but one.
func (c *cluster) others(name string) []*lab.Host {
	var all []*lab.Host
	for _, h := range c.Hosts {
		if h.Name != name {
			all = append(all, h)
		}
	}
	return all
}

// block drops what comes in by these rules of nft(8), on the host itself.
func (c *cluster) block(h *lab.Host, rules ...string) {
	c.t.Helper()
	script := "add table inet fault; add chain inet fault in { type filter hook input priority 0; }; "
	for _, rule := range rules {
		script += "add rule inet fault in " + rule + "; "
	}
	h.MustExec(c.t, "nft", script)
}

func (c *cluster) unblock(h *lab.Host) {
	c.t.Helper()
	h.MustExec(c.t, "nft", "delete table inet fault")
}

// healed gives a host its cable back.
func (c *cluster) healed(h *lab.Host) {
	c.t.Helper()
	if err := c.LAN.Heal(c.t.Context(), h.Machine); err != nil {
		c.t.Fatal(err)
	}
}

// flaps counts, over all agents, members that were taken for dead and came
// back.
func (c *cluster) flaps() uint64 {
	c.t.Helper()
	var sum uint64
	for _, h := range c.Hosts {
		sum += c.gossip(h).Flaps
	}
	return sum
}

// gossipCounts is what an agent met among its peers.
type gossipCounts struct {
	Answering      int
	RefusedKey     uint64 `json:"refusedKey"`
	RefusedCluster uint64 `json:"refusedCluster"`
	Flaps          uint64
}

func (c *cluster) gossip(h *lab.Host) gossipCounts {
	c.t.Helper()
	var s struct{ Gossip gossipCounts }
	out := h.MustExec(c.t, c.binary, "status", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		c.t.Fatalf("status of %s: %v in %q", h.Name, err, out)
	}
	return s.Gossip
}

// times counts the lines of the first host's agent with some words.
func (c *cluster) times(words string) int {
	c.t.Helper()
	return strings.Count(string(must(os.ReadFile(c.agents[0].Log))(c.t)), words)
}

// lastLine is the last line with text.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// memberRemarks: what a node tells of itself reaches its peers by gossip.
func memberRemarks(c *cluster) {
	h1 := c.Hosts[0]
	for _, step := range []struct{ args, want string }{
		{"node drain h5", "drained, names at port 5354"},
		{"node drain --undo h5", "names at port 5354"},
	} {
		h1.MustExec(c.t, c.binary, strings.Fields(step.args)...)
		eventually(c.t, "h5 to tell its peers: "+step.want, func() error {
			if m := c.members(h1)["h5"]; strings.Join(m.Remarks, ", ") != step.want {
				return fmt.Errorf("h1 hears %+v", m)
			}
			return nil
		})
	}
}
