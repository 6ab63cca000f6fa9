package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
)

// hostsPage is what html/hosts.html shows, and of one host html/host.html.
type hostsPage struct {
	Age    string   // etcd does not answer
	Unsaid []string // what could not be asked, and why
	Clock  string   // this host's is off
	Store  string   // whose it is, where it is none that hosts keep together
	Wrong  []string // with the store
	Hosts  []hostCard
}

// hostCard is a host as it is shown.
type hostCard struct {
	api.NodeView
	ID         string // of the element
	Self       bool   // it is the one that serves the page
	Agents     []agentLine
	Containers string // "": not known
	Role       roleWords
	Clock      badge // no Word: it did not tell its clock
	Seen       seenWords
	Remarks    []string
	Tree       []*branch
	Unhung     []hung            // networks without a parent
	Idle       []*branch         // interfaces that no network uses
	NotHere    []warning         // networks that are not as they should be, and why
	Fares      []placedNetwork   // how each network fares there
	Interfaces []store.Interface // all of them
}

// agentLine is one agent of a host.
type agentLine struct {
	api.NodeView
	Kind  string // of agent, where the host has two
	Badge badge
}

// roleWords is what a host is to the cluster's own store.
type roleWords struct {
	Word string // leader, voter or learner; "": no member
	Lag  uint64 // entries behind
	Why  string // it does not answer, or the host runs no member
}

// seenWords is how the gossip of the host that serves the page sees another.
type seenWords struct {
	Badge  badge
	Since  time.Time
	Direct time.Time // its last answer
	Etcd   string
}

// hosts is the view of all of them.
func hosts(v viewer, r *http.Request) (page, error) {
	nodes, err := ask[[]api.NodeView](r.Context(), v.agent, api.NodesRoute)
	if err != nil {
		return page{}, err
	}
	return page{Template: "hosts", Title: "Hosts", JSON: api.NodesRoute, Data: hostsOf(v, r, nodes)}, nil
}

// host is the view of one: ?name=, what people call it or one of its nodes.
func host(v viewer, r *http.Request) (page, error) {
	nodes, err := ask[[]api.NodeView](r.Context(), v.agent, api.NodesRoute)
	if err != nil {
		return page{}, err
	}
	one, err := facts.HostCalled(nodes, api.NameIn(r))
	if err != nil {
		return page{}, err
	}
	return page{Template: "host", Title: one.Called(), Under: "/hosts", JSON: api.NodesRoute, Data: hostsOf(v, r, []api.NodeView{one})}, nil
}

// hostsOf asks what else there is to say of hosts. What is not answered is missing
// from a page that says so.
func hostsOf(v viewer, r *http.Request, nodes []api.NodeView) hostsPage {
	shown := hostsPage{}
	unsaid := func(what string, err error) bool {
		if err != nil {
			shown.Unsaid = append(shown.Unsaid, what+": "+err.Error())
		}
		return err == nil
	}
	members, err := ask[[]api.MemberView](r.Context(), v.agent, api.MembersRoute)
	unsaid("When hosts were seen, and their clocks, are not known", err)
	networks, err := ask[[]api.NetworkView](r.Context(), v.agent, api.NetworksRoute)
	counted := unsaid("How many containers hang from what is not known", err)
	roles := shown.storeRoles(v, r)
	clocks := api.CompareClocks(members)
	if clocks.Own {
		shown.Clock = "this host's clock is " + api.Aside(-*clocks.Off[0].ClockAhead) + " of most others'"
	}
	seen := map[string]api.MemberView{}
	for _, m := range members {
		seen[m.Node] = m
	}
	hanging := hangingOf(networks, counted)
	for _, n := range nodes {
		if n.Stale {
			shown.Age = "etcd does not answer this host: which nodes are connected to it is what it said last"
		}
		card := hostCard{NodeView: n, ID: "host-" + n.Node, Containers: facts.HostContainers(n), Role: roles[n.Node]}
		for _, a := range facts.Agents(n) {
			card.Self = card.Self || a.Node == v.status.Node
			line := agentLine{NodeView: a, Badge: stateBadge(a)}
			if n.Swarm != nil {
				line.Kind = facts.AgentKind(a)
			}
			card.Agents = append(card.Agents, line)
			card.Remarks = append(card.Remarks, seen[a.Node].Remarks...)
		}
		if m, known := seen[n.Node]; known {
			card.Clock = clockBadge(m, clocks.Own)
			card.Seen = seenWords{Badge: gossipBadge(m), Since: m.Since, Direct: m.Direct, Etcd: m.Etcd}
		}
		card.hang(hanging)
		shown.Hosts = append(shown.Hosts, card)
	}
	return shown
}

// storeRoles are those of nodes. A store that hosts do not keep together has none.
func (shown *hostsPage) storeRoles(v viewer, r *http.Request) map[string]roleWords {
	view, err := ask[api.StoreView](r.Context(), v.agent, api.StoreRoute)
	switch {
	case err != nil:
		shown.Store = "Which hosts keep the store is not said: " + err.Error()
	case view.Standing == "solo":
		shown.Store = "This host is solo: its store is its own, and gvlan init opens it to others."
	case view.Standing == "joining":
		shown.Store = "This host is joining a cluster: which hosts keep the store it does not know yet."
	case !view.AsOf.IsZero():
		shown.Store = "The store does not answer this host: its members are those it saw last " + terminal.Since(view.AsOf, v.now) + " ago."
	}
	shown.Wrong = view.Warnings
	roles := map[string]roleWords{}
	for _, m := range view.Members {
		roles[m.Node] = roleWords{Word: m.Role, Lag: m.Lag, Why: m.Why}
	}
	for _, h := range view.Hosts {
		roles[h.Node] = roleWords{Why: h.Why}
	}
	return roles
}

// stateBadge is the state of an agent, as `gvlan node ls` says it.
func stateBadge(v api.NodeView) badge {
	word, kind := facts.HostState(v), "warn"
	switch state := cluster.State(v.State); {
	case state == cluster.Evicted, state == cluster.Down && v.Stopped:
		kind = "calm"
	case state == cluster.Down:
		kind = "bad"
	case state == cluster.Ready && !v.Drained && !v.Evicted:
		kind = "good"
	}
	return badge{kind, word}
}

// gossipBadge is how a member answers, as `gvlan members` says it.
func gossipBadge(m api.MemberView) badge {
	word := api.Word(m.Gossip)
	switch gossip.Standing(m.Gossip) {
	case gossip.Alive:
		return badge{"good", word}
	case gossip.Left:
		return badge{"calm", word}
	case gossip.Failed:
	}
	return badge{"bad", word}
}

// clockBadge judges a clock, as `gvlan doctor` does: where most are off it is this
// host's that is, and none is blamed.
func clockBadge(m api.MemberView, own bool) badge {
	switch {
	case m.ClockAhead == nil:
		return badge{}
	case m.ClockApart() <= api.ClocksApart:
		return badge{"good", "in step"}
	case own:
		return badge{"calm", api.Aside(*m.ClockAhead)}
	case m.ClockApart() > api.ClocksFarApart:
		return badge{"bad", api.Aside(*m.ClockAhead)}
	}
	return badge{"warn", api.Aside(*m.ClockAhead)}
}

// branch is an interface of a host with what hangs from it.
type branch struct {
	store.Interface
	VLANWords string
	Slaves    []store.Interface // of a bond or bridge
	Networks  []hung
	Links     []*branch
}

// InUse reports whether a network hangs from it, or from what hangs from it.
func (b *branch) InUse() bool {
	return len(b.Networks) > 0 || slices.ContainsFunc(b.Links, (*branch).InUse)
}

// hung is a network on a host.
type hung struct {
	Name, Link string
	Containers int
	Counted    bool // how many containers is known
}

// placedNetwork is how a network fares on a host, with where it is shown.
type placedNetwork struct {
	store.NodeNetwork
	Link  string
	Badge badge
}

// hanging is what networks have where.
type hanging struct {
	counted bool
	link    map[[2]string]string // by node and network
	on      map[[3]string]int    // containers by node, network and parent
}

// hangingOf counts containers by what they hang from.
func hangingOf(networks []api.NetworkView, counted bool) hanging {
	all := hanging{counted: counted, link: map[[2]string]string{}, on: map[[3]string]int{}}
	for _, n := range networks {
		for _, h := range n.Hosts {
			all.link[[2]string{h.Node, n.Name}] = networkLink(n)
			for _, e := range h.Endpoints {
				all.on[[3]string{h.Node, n.Name, e.Parent}]++
			}
		}
	}
	return all
}

// hung is a network that agents of a host have at a parent.
func (all hanging) hung(agents []api.NodeView, name, parent string) hung {
	one := hung{Name: name, Link: api.Named("/network", name), Counted: all.counted}
	for _, a := range agents {
		if link, has := all.link[[2]string{a.Node, name}]; has && slices.ContainsFunc(a.Networks, func(n store.NodeNetwork) bool { return n.Name == name }) {
			one.Link = link
		}
		one.Containers += all.on[[3]string{a.Node, name, parent}]
	}
	return one
}

// hang puts a host's interfaces and networks where they hang.
func (card *hostCard) hang(all hanging) {
	agents, interfaces := facts.Agents(card.NodeView), facts.Interfaces(card.NodeView)
	card.Interfaces = interfaces
	at := map[string]*branch{}
	for _, i := range interfaces {
		b := &branch{Interface: i, VLANWords: vlanWords(i)}
		for _, name := range i.UsedBy {
			b.Networks = append(b.Networks, all.hung(agents, name, i.Name))
		}
		at[i.Name] = b
	}
	var roots []*branch
	for _, i := range interfaces {
		b := at[i.Name]
		if master := at[i.Master]; master != nil {
			master.Slaves = append(master.Slaves, i)
		}
		if under := at[i.Parent]; under != nil && !leadsTo(at, i.Parent, i.Name) {
			under.Links = append(under.Links, b)
		} else {
			roots = append(roots, b)
		}
	}
	// A slave is told of with its master, and by itself where something hangs from it.
	told := func(b *branch) bool { return at[b.Master] != nil && !b.InUse() }
	for _, b := range at {
		b.Links = slices.DeleteFunc(b.Links, told)
	}
	for _, b := range slices.DeleteFunc(roots, told) {
		if b.InUse() {
			card.Tree = append(card.Tree, b)
		} else {
			card.Idle = append(card.Idle, b)
		}
	}
	for _, a := range agents {
		for _, n := range a.Networks {
			h := all.hung(agents, n.Name, n.Parent)
			fares := api.NetworkHost{Connected: true, State: n.State, Why: n.Why}
			card.Fares = append(card.Fares, placedNetwork{n, h.Link, badgeOf(fares)})
			if n.Why != "" {
				card.NotHere = append(card.NotHere, warning{"warn", strings.Join([]string{n.Name, n.Why}, ": ")})
			} else if n.Parent == "" {
				card.Unhung = append(card.Unhung, h)
			}
		}
	}
}

// leadsTo reports whether an interface hangs from another by whatever many: what a
// host tells of its own may be a ring.
func leadsTo(at map[string]*branch, from, to string) bool {
	for range at {
		if from == to {
			return true
		}
		b := at[from]
		if b == nil || b.Parent == "" {
			return false
		}
		from = b.Parent
	}
	return true
}
