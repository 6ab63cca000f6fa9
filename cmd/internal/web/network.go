package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
)

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
	return page{Template: "network", Title: name, JSON: api.Named(api.NetworkRoute, name), Data: shown}, nil
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
		for i, e := range h.Endpoints {
			if len(all) == mostMembers {
				more++
				continue
			}
			m := member{ID: fmt.Sprintf("member-%s-%s", h.Node, e.MAC), Container: e.Container, Host: h.Called(), Waits: e.Waits, MAC: e.MAC, Parent: e.Parent}
			if e.MAC == "" {
				m.ID = fmt.Sprintf("member-%s-%d", h.Node, i)
			}
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
