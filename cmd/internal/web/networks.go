package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
	"gvlan/driver/option"
)

// networksPage is what html/networks.html shows.
type networksPage struct {
	Age        string   // etcd does not answer
	Unsaid     []string // what could not be asked, and why
	Networks   []networkCard
	Subnets    int
	Containers int
}

// networkCard is a network as it is shown.
type networkCard struct {
	api.NetworkView
	ID         string // of the element
	Link       string
	Badge      badge
	OnlyOn     string // the only host that has it
	Usable     string // hosts on which a container could start
	Containers int
	Subnets    []subnetRow
	Options    []string
	Changed    []string
	Placed     []placed
	Warnings   []warning
}

// badge is a state in a word, with how grave it is: good, calm, warn or bad.
type badge struct{ Kind, Word string }

// warning is something to know of a network.
type warning struct{ Kind, Text string }

// placed is a network on a host.
type placed struct {
	api.NetworkHost
	ID     string
	Badge  badge
	Parent parentWords
}

// parentWords is the interface that a container would hang from.
type parentWords struct {
	Name string
	VLAN string // and on what it is
	MTU  int    // bytes; 0: not known
	Down bool
}

// mostPlaced is how many hosts of a network are listed among others: of more, those
// where nothing is wrong are folded away.
const mostPlaced = 12

// Open are the hosts that are listed.
func (card networkCard) Open() []placed {
	if len(card.Placed) <= mostPlaced {
		return card.Placed
	}
	return slices.DeleteFunc(slices.Clone(card.Placed), placed.fine)
}

// Folded are the others.
func (card networkCard) Folded() []placed {
	if len(card.Placed) <= mostPlaced {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(card.Placed), func(p placed) bool { return !p.fine() })
}

// fine reports whether a host has the network, or needs none.
func (p placed) fine() bool {
	return !p.Parent.Down && (p.Badge.Kind == "good" || p.Badge.Kind == "calm")
}

// networks is the view of all of them.
func networks(v viewer, r *http.Request) (page, error) {
	all, err := ask[[]api.NetworkView](r.Context(), v.agent, api.NetworksRoute)
	if err != nil {
		return page{}, err
	}
	shown, beside := networksPage{}, besideNetworks(v, r)
	shown.Unsaid = beside.unsaid
	for _, n := range all {
		card := beside.card(n, v.now)
		shown.Age = cmp.Or(shown.Age, facts.LastSaid(n.AsOf, v.now))
		shown.Subnets += len(card.Subnets)
		shown.Containers += card.Containers
		shown.Networks = append(shown.Networks, card)
	}
	return page{Template: "networks", Title: "Networks", JSON: api.NetworksRoute, Data: shown}, nil
}

// beside is what other answers tell of networks.
type beside struct {
	pools      []api.PoolView
	counted    bool // pools are known
	interfaces map[string][]store.Interface
	unsaid     []string
}

// besideNetworks asks for that. What is not answered is missing from a page that
// says so.
func besideNetworks(v viewer, r *http.Request) beside {
	b := beside{interfaces: map[string][]store.Interface{}}
	pools, err := ask[[]api.PoolView](r.Context(), v.agent, api.PoolsRoute)
	if b.pools, b.counted = pools, err == nil; err != nil {
		b.unsaid = append(b.unsaid, "How full the subnets are is not known: "+err.Error())
	}
	nodes, err := ask[[]api.NodeView](r.Context(), v.agent, api.NodesRoute)
	if err != nil {
		b.unsaid = append(b.unsaid, "VLANs, and whether parents are up, are not known: "+err.Error())
	}
	for _, host := range nodes {
		for _, agent := range facts.Agents(host) {
			b.interfaces[agent.Node] = agent.Interfaces
		}
	}
	return b
}

func (b beside) card(n api.NetworkView, now time.Time) networkCard {
	card := networkCard{
		NetworkView: n, ID: "network-" + n.UUID, Link: networkLink(n), Usable: facts.UsableHosts(n),
		Containers: facts.NetworkContainers(n), Options: facts.Options(n), Changed: facts.Changed(n),
	}
	if isLocal(n) {
		card.OnlyOn = facts.MadeOn(n)
	}
	for _, h := range n.Hosts {
		card.Placed = append(card.Placed, placed{h, card.ID + "-" + h.Node, badgeOf(h), b.parent(h)})
	}
	card.Subnets = b.subnets(n, now)
	card.Badge = badge{"good", api.Word(n.State)}
	switch {
	case n.State != string(store.NetworkActive):
		card.Badge.Kind = "warn"
	case n.Usable() < len(n.Hosts) && n.Scope != string(store.ScopeSwarm):
		card.Badge = badge{"warn", "not on every host"}
	}
	card.Warnings = b.warnings(card)
	return card
}

// isLocal reports whether one host only has a network, and another may have one of
// the same name.
func isLocal(n api.NetworkView) bool { return n.Scope == string(option.ScopeLocal) }

// networkLink is where a network is shown.
func networkLink(n api.NetworkView) string {
	query := url.Values{"name": {n.Name}}
	if isLocal(n) {
		query.Set("node", n.Origin)
	}
	return "/network?" + query.Encode()
}

// badgeOf is how a network fares on a host.
func badgeOf(h api.NetworkHost) badge {
	word := api.Word(h.State)
	switch {
	case !h.Connected:
		return badge{"bad", "agent away"}
	case h.Usable():
		return badge{"good", word}
	case h.State == api.StateNoTask:
		return badge{"calm", word}
	case h.Why != "" && word == "ready":
		return badge{"warn", "not usable"}
	}
	return badge{"warn", word}
}

// parent is what a host says of the parent that a network has there.
func (b beside) parent(h api.NetworkHost) parentWords {
	words := parentWords{Name: h.Parent}
	for _, i := range b.interfaces[h.Node] {
		if i.Name == h.Parent {
			words.VLAN, words.MTU, words.Down = vlanWords(i), i.MTU, !i.Up
		}
	}
	return words
}

// vlanWords is the VLAN of an interface; "" where it has none.
func vlanWords(i store.Interface) string {
	if i.VLAN == 0 {
		return ""
	}
	return fmt.Sprintf("VLAN %d", i.VLAN)
}

// warnings are what keeps hosts from a network or containers from each other, and
// how full it is.
func (b beside) warnings(card networkCard) (all []warning) {
	for _, s := range card.Subnets {
		if s.Full {
			all = append(all, warning{"bad", s.Prefix + " is full"})
		}
	}
	for _, h := range card.Placed {
		switch {
		case h.Why != "":
			all = append(all, warning{"warn", "on " + h.Called() + ": " + h.Why})
		case h.Parent.Down:
			all = append(all, warning{"warn", "on " + h.Called() + ": " + h.Parent.Name + " is down"})
		}
	}
	for _, line := range facts.Said(card.NetworkView, func(h api.NetworkHost) string { return h.Unrouted }) {
		all = append(all, warning{"warn", "no routes to: " + line})
	}
	off := func(of string) string {
		if strings.HasPrefix(of, "off: ") {
			return of
		}
		return ""
	}
	for _, line := range facts.Said(card.NetworkView, func(h api.NetworkHost) string { return off(h.HostAccess) }) {
		all = append(all, warning{"calm", "host access " + line})
	}
	for _, line := range facts.Said(card.NetworkView, func(h api.NetworkHost) string { return off(h.HostRoutes) }) {
		all = append(all, warning{"calm", "routes between " + line})
	}
	return all
}

// networkPage is what html/network.html shows.
type networkPage struct {
	Age    string   // etcd does not answer
	Unsaid []string // what could not be asked, and why
	networkCard
	MadeOn  string
	Told    []facts.Fact // what hosts say of themselves
	Members []member     // of its containers, the first ones
	More    int          // others
}

// member is a container on a network.
type member struct {
	ID, Container, Host string
	Addresses           []memberAddress
	Waits               []string // addresses
	MAC, Parent         string
}

// memberAddress is an address of a container, and where its lease is shown.
type memberAddress struct{ Address, Link string }

// mostMembers is how many containers a network's page lists: a browser lays out no
// more of them at once, and the subnets have all.
const mostMembers = 500

// errUnnamed refuses a page of one thing that does not say which.
var errUnnamed = errors.New("no name is given: ?name=")

// network is the view of one: ?name=, and of one that a single host has ?node=.
func network(v viewer, r *http.Request) (page, error) {
	name, node := api.NameIn(r), r.URL.Query().Get("node")
	if name == "" {
		return page{}, api.Refuse(errUnnamed)
	}
	n, err := networkCalled(v, r, name, node)
	if err != nil {
		return page{}, err
	}
	b := besideNetworks(v, r)
	shown := networkPage{Age: facts.LastSaid(n.AsOf, v.now), Unsaid: b.unsaid, networkCard: b.card(n, v.now), MadeOn: facts.MadeOn(n)}
	for _, about := range []struct {
		head string
		said func(api.NetworkHost) string
	}{
		{"host access", func(h api.NetworkHost) string { return h.HostAccess }},
		{"routes between", func(h api.NetworkHost) string { return h.HostRoutes }},
	} {
		for _, line := range facts.Said(n, about.said) {
			shown.Told = append(shown.Told, facts.Fact{Name: about.head, Text: line})
		}
	}
	shown.Members, shown.More = membersOf(n)
	answeredAt := api.Named(api.NetworkRoute, name)
	if node != "" {
		answeredAt = api.NetworksRoute // no route is of one among several of a name
	}
	return page{Template: "network", Title: name, Under: "/", JSON: answeredAt, Data: shown}, nil
}

// networkCalled is the network of that name; with a node, the one that only it has.
func networkCalled(v viewer, r *http.Request, name, node string) (api.NetworkView, error) {
	if node == "" {
		return ask[api.NetworkView](r.Context(), v.agent, api.Named(api.NetworkRoute, name))
	}
	all, err := ask[[]api.NetworkView](r.Context(), v.agent, api.NetworksRoute)
	if err != nil {
		return api.NetworkView{}, err
	}
	at := slices.IndexFunc(all, func(n api.NetworkView) bool { return n.Name == name && isLocal(n) && n.Origin == node })
	if at < 0 {
		return api.NetworkView{}, api.Missing(fmt.Errorf("node %s has no network %s of its own", node, name))
	}
	return all[at], nil
}

// membersOf are the containers of a network, and how many are left out.
func membersOf(n api.NetworkView) (all []member, more int) {
	for _, h := range n.Hosts {
		for _, e := range h.Endpoints {
			if len(all) == mostMembers {
				more++
				continue
			}
			id := fmt.Sprintf("member-%s-%s", h.Node, cmp.Or(e.MAC, e.IPv4, e.IPv6)) // links of ipvlan have no MAC of their own
			m := member{ID: id, Container: e.Container, Host: h.Called(), Waits: e.Waits, MAC: e.MAC, Parent: e.Parent}
			for _, addr := range append([]string{e.IPv4, e.IPv6}, e.Fixed...) {
				if addr, _, _ = strings.Cut(addr, "/"); addr != "" {
					query := url.Values{"address": {addr}, "network": {n.Name}, "segment": {n.Segment}}
					m.Addresses = append(m.Addresses, memberAddress{addr, "/lease?" + query.Encode()})
				}
			}
			all = append(all, m)
		}
	}
	return all, more
}

// subnetRow is a subnet with how full it is.
type subnetRow struct {
	ID      string // of the element
	Prefix  string
	Link    string
	Made    string // what it was made with
	Counted bool   // how full it is, is known
	Parts   []usage
	Said    string // the parts in a sentence
	Size    string
	Full    bool
	FullIn  string // "": never, or too little is known
	Soon    bool   // it is full in less than soon
	Beside  int    // leases outside of the ranges
	Ranges  string
	Apart   string // exclude=
	ByHost  string
}

// usage is how many addresses of a subnet are in one way in use.
type usage struct {
	Kind, Count string
	From, Width string // of the bar, with their unit
}

// soon is what a person would be warned of: there is a week to widen a range.
const soon = 7 * 24 * time.Hour

// thinnest is what of a bar may be seen, in percent: less than that is drawn as that.
const thinnest = 0.4

// subnets are those of a network. A pool that is not counted is told with what it was
// made with.
func (b beside) subnets(n api.NetworkView, now time.Time) (rows []subnetRow) {
	card := "network-" + n.UUID
	for i, made := range n.Pools {
		row := subnetRow{ID: fmt.Sprintf("%s-%d", card, i), Prefix: made.Subnet.String(), Made: facts.Subnet(made)}
		query := url.Values{"network": {n.Name}, "subnet": {row.Prefix}}
		if isLocal(n) {
			query.Set("node", n.Origin)
		}
		row.Link = "/subnet?" + query.Encode()
		for _, p := range b.pools {
			if p.Network == n.Name && p.Segment == n.Segment && p.Subnet == made.Subnet && (p.Node == "" || p.Node == n.Origin) && (p.Node != "") == isLocal(n) {
				row.count(p, now)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// count adds how full it is.
func (row *subnetRow) count(p api.PoolView, now time.Time) {
	row.Counted, row.Size, row.FullIn = true, facts.Many(p.Size), facts.FullIn(p, now)
	row.Full = row.FullIn == "full"
	row.Soon = !p.FullAt.IsZero() && p.FullAt.Sub(now) < soon
	row.Beside, row.ByHost = p.Beside, facts.ByHost(p)
	row.Ranges, row.Apart = strings.Join(p.Ranges, ", "), strings.Join(p.Excluded, ", ")
	all := max(p.Size, p.Used+p.Resting+p.Reserved+p.Free, 1)
	from, said := 0.0, []string{}
	for _, part := range []struct {
		kind  string
		count float64
	}{{"used", p.Used}, {"resting", p.Resting}, {"reserved", p.Reserved}, {"free", p.Free}} {
		width := 100 * part.count / all
		if part.count > 0 {
			width = max(width, thinnest)
		}
		width = min(width, 100-from)
		row.Parts = append(row.Parts, usage{part.kind, facts.Many(part.count), percent(from), percent(width)})
		said = append(said, facts.Many(part.count)+" "+part.kind)
		from += width
	}
	row.Said = fmt.Sprintf("of %s addresses: %s", row.Size, strings.Join(said, ", "))
}

func percent(of float64) string { return fmt.Sprintf("%.2f%%", of) }
