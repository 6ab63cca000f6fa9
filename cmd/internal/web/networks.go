package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
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
