package answer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/driver"
	"gvlan/driver/bgp"
	"gvlan/driver/bgp/peer"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/hostroute"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/ipam/reserve"
)

// Networks answers the network commands.
type Networks struct {
	Records *Records
	Driver  *driver.Driver
	Node    string // this one
	Roster  Roster
	// Reservations are what operators reserve, as far as this host knows.
	Reservations func() []reserve.Reservation
	AS           peer.AS      // this host speaks BGP as
	Speaker      *bgp.Speaker // nil: it does not
}

// Register adds the routes of the network commands to the server.
func (a Networks) Register(server *api.Server) {
	server.Handle("GET "+api.NetworksRoute, a.list)
	server.Handle("GET "+api.NetworkRoute, a.inspect)
	server.Handle("POST "+api.NetworksRoute, a.create)
	server.Handle("PATCH "+api.NetworkRoute, a.set)
	server.Handle("DELETE "+api.NetworkRoute, a.remove)
	server.Handle("GET "+api.RoutesRoute, func(*http.Request) (any, error) { return a.routes(), nil })
	server.Handle("GET "+api.BGPRoute, func(*http.Request) (any, error) { return a.bgp(), nil })
	server.Handle("POST "+api.ReservationsRoute, a.reserve)
	server.Handle("DELETE "+api.ReservationsRoute, a.unreserve)
	server.Handle("GET "+api.ImportRoute, func(r *http.Request) (any, error) { return a.Driver.Importable(r.Context()) })
	server.Handle("POST "+api.ImportRoute, a.importBuiltIn)
}

func (a Networks) list(r *http.Request) (any, error) {
	if r.URL.Query().Has("known") {
		if v, known := a.Records.last(a.Records.directory.Known()); known {
			return a.counted(v.views()), nil
		}
	}
	v, err := a.Records.now(r.Context())
	if err != nil {
		return nil, err
	}
	return a.counted(v.views()), nil
}

func (a Networks) inspect(r *http.Request) (any, error) {
	v, err := a.Records.now(r.Context())
	if err != nil {
		return nil, err
	}
	view, err := v.network(api.NameIn(r), a.Node)
	if err != nil {
		return nil, err
	}
	return a.counted([]api.NetworkView{view})[0], nil
}

// counted has views say how many addresses of theirs are reserved.
func (a Networks) counted(views []api.NetworkView) []api.NetworkView {
	reserved := map[string]int{} // by uuid
	for _, one := range a.Reservations() {
		reserved[one.Network]++
	}
	for i := range views {
		views[i].Reserved = reserved[views[i].UUID]
	}
	return views
}

func (a Networks) create(r *http.Request) (any, error) {
	request, err := api.BodyOf[engine.NetworkRequest](r)
	if err != nil {
		return nil, err
	}
	return a.Driver.Define(r.Context(), request)
}

func (a Networks) set(r *http.Request) (any, error) {
	change, err := api.BodyOf[api.NetworkChange](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.Driver.Set(r.Context(), api.NameIn(r), change.Changes)
}

func (a Networks) remove(r *http.Request) (any, error) {
	return struct{}{}, a.Driver.Remove(r.Context(), api.NameIn(r), r.URL.Query().Has("force"))
}

// routes are this host's to containers of others.
func (a Networks) routes() []api.RouteView {
	called, views := api.CallNodes(a.Roster.Names()), []api.RouteView{}
	for _, l := range a.Driver.Routes.List() {
		view := api.RouteView{
			Prefix: l.Dst, Via: l.Via, Link: l.Link, Table: "main", Node: l.Node, Why: string(l.Why), Since: l.Since, Wrong: l.Wrong,
		}
		if n, ok := a.Driver.Memory.Network(l.Network); ok {
			view.Network = n.Title()
		}
		if l.Node != "" {
			view.Host = called(l.Node)
		}
		if l.Table != 0 {
			view.Table = strconv.Itoa(l.Table)
		}
		views = append(views, view)
	}
	return views
}

// bgp are this host's sessions with routers.
func (a Networks) bgp() api.BGPView {
	view := api.BGPView{AS: uint32(a.AS), Sessions: []api.BGPSession{}}
	if a.Speaker == nil {
		return view
	}
	for _, s := range a.Speaker.Sessions() {
		view.Sessions = append(view.Sessions, api.BGPSession{
			Peer: s.Peer.Called(), AS: uint32(s.Peer.AS), Password: s.Peer.Password != "", State: s.State, Since: s.Since,
			Announced: s.Announced, Received: s.Received, Accepted: s.Accepted, Wrong: s.Wrong,
		})
	}
	return view
}

// reserve keeps addresses of a network back.
func (a Networks) reserve(r *http.Request) (any, error) {
	return a.reserving(r, a.Driver.Reserve)
}

// unreserve ends that.
func (a Networks) unreserve(r *http.Request) (any, error) {
	return a.reserving(r, a.Driver.Unreserve)
}

func (a Networks) reserving(r *http.Request, do func(context.Context, string, reserve.Wish) (reserve.Outcome, error)) (any, error) {
	wish, err := api.BodyOf[reserve.Wish](r)
	if err != nil {
		return nil, err
	}
	network := api.NameIn(r)
	outcome, err := do(r.Context(), network, wish)
	if err != nil {
		return nil, err
	}
	told := api.ReservationAnswer{Network: network, Wish: wish, Outcome: outcome}
	hosts := a.Driver.Hosts()
	for _, held := range outcome.InUse {
		row, _ := a.Records.Endpoints.Row(store.EndpointKey(held.Node, held.Endpoint))
		told.Holders = append(told.Holders, api.Holder{Address: held.Address, Container: row.Record.Container.Name, Node: held.Node, Host: hosts.Of(held.Node)})
	}
	return told, nil
}

func (a Networks) importBuiltIn(r *http.Request) (any, error) {
	return a.Driver.Import(r.Context(), api.NameIn(r))
}

// view is one definition with its state on every host that may have it: managed
// plugins serve the swarm's networks only, socket agents all others.
func (v clusterView) view(n store.Network) api.NetworkView {
	v = v.sorted()
	view := api.NetworkView{
		Name: n.Name, UUID: n.UUID, Scope: string(n.Scope), State: string(n.State), Origin: n.Origin,
		Options: n.Created.Options, Pools: n.Created.Pools, Segment: n.Created.Segment, Overrides: n.Overrides,
		AsOf: v.asOf,
	}
	for _, node := range v.nodes {
		if config.IsPlugin(node.Node) != (n.Scope == store.ScopeSwarm) {
			continue
		}
		view.Hosts = append(view.Hosts, v.host(n, node))
	}
	slices.SortFunc(view.Hosts, func(a, b api.NetworkHost) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Node, b.Node))
	})
	return view
}

// views are all definitions and then all local networks, of which two hosts
// may have one of a name each.
func (v clusterView) views() []api.NetworkView {
	v = v.sorted()
	views := []api.NetworkView{}
	for _, n := range v.networks {
		views = append(views, v.view(n))
	}
	for _, node := range slices.Sorted(maps.Keys(v.nodes)) {
		views = append(views, v.local(v.nodes[node])...)
	}
	return views
}

// local are the networks that only this node has.
func (v clusterView) local(node store.Node) (views []api.NetworkView) {
	for _, fares := range node.Networks {
		if journal.Stage(fares.State) != journal.StageLocal {
			continue
		}
		n := store.Network{UUID: fares.UUID, Name: fares.Name}
		views = append(views, api.NetworkView{
			Name: fares.Name, UUID: fares.UUID, Scope: string(option.ScopeLocal), State: string(store.NetworkActive), Origin: node.Node,
			Pools: fares.Pools, Segment: fares.Segment, Hosts: []api.NetworkHost{v.host(n, node)}, AsOf: v.asOf,
		})
	}
	return views
}

// network is the one of that name: the cluster's, else the local one of
// this node, else that of the only node that has one.
func (v clusterView) network(name, here string) (api.NetworkView, error) {
	var local []api.NetworkView
	for _, view := range v.views() {
		switch {
		case view.Name != name:
		case view.Scope != string(option.ScopeLocal), view.Origin == here:
			return view, nil
		default:
			local = append(local, view)
		}
	}
	switch len(local) {
	case 0:
		return api.NetworkView{}, api.Missing(fmt.Errorf("%w: %s (gvlan network ls lists them)", host.ErrNoNetwork, name))
	case 1:
		return local[0], nil
	}
	return api.NetworkView{}, api.Missing(fmt.Errorf("%w: %s is a local network of %d other hosts: ask on one of them", host.ErrNoNetwork, name, len(local)))
}

// sorted puts what every view needs of the whole cluster beside it, once.
func (v clusterView) sorted() clusterView {
	if v.called != nil {
		return v
	}
	var names []api.NodeName
	for _, n := range v.nodes {
		names = append(names, api.NodeName{Node: n.Node, Host: n.Host, Address: n.Address})
	}
	v.called, v.on = api.CallNodes(names), map[place][]store.Endpoint{}
	for _, e := range v.endpoints {
		at := place{e.Network, e.Node}
		v.on[at] = append(v.on[at], e)
	}
	return v
}

// unrouted says why other hosts cannot make routes to a node's containers of a network
// that has them: by no address of its parent.
func unrouted(n store.Network, node store.Node, parent string) string {
	o, err := option.Parse(n.Created.Options)
	if err != nil || parent == "" || !o.Layer3() || o.Isolated(n.Created.Internal) || o.HostRoutes == option.HostRoutesOff {
		return ""
	}
	return hostroute.Unreached(node, parent, n.Created.IPv4, n.Created.IPv6)
}

func (v clusterView) host(n store.Network, node store.Node) api.NetworkHost {
	h := api.NetworkHost{Node: node.Node, Name: v.called(node.Node), Host: node.Host, Connected: v.live[node.Node], State: api.StateMissing}
	if n.Scope == store.ScopeSwarm {
		h.State = api.StateNoTask
	}
	for _, fares := range node.Networks {
		// One of the name with another uuid is what the host has instead: a
		// conflict, or the network of an earlier definition.
		if fares.UUID == n.UUID || fares.Name == n.Name {
			h.State, h.Engine, h.Parent, h.Links, h.Why = fares.State, fares.Engine, fares.Parent, fares.Links, fares.Why
			h.HostAccess, h.HostRoutes, h.Unrouted = fares.HostAccess, fares.HostRoutes, unrouted(n, node, fares.Parent)
		}
	}
	for _, e := range v.on[place{n.UUID, node.Node}] {
		waits := slices.DeleteFunc(slices.Clone(e.Wants), func(addr string) bool { return slices.Contains(e.Fixed, addr) })
		h.Endpoints = append(h.Endpoints, api.EndpointView{Container: e.Container.Name, IPv4: e.IPv4, IPv6: e.IPv6, Fixed: e.Fixed, Waits: waits, MAC: e.MAC, Parent: e.Parent})
	}
	return h
}
