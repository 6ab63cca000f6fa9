package api

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
)

// Routes of the network commands. Those of one network take its name as the
// value "name" of the query: a name is any text, and in a path "/" and ".."
// mean something else.
const (
	NetworksRoute = "/v1/networks"
	NetworkRoute  = "/v1/network"
	ImportRoute   = "/v1/network/import" // POST; GET names those of this host that can be: []string
)

// Known has NetworksRoute or NodesRoute answer at once, by what the agent knows: who
// completes a word has no time to ask the store.
func Known(route string) string { return route + "?known" }

// Named is a route with the name of the network or node it is about.
func Named(route, name string) string { return route + "?name=" + url.QueryEscape(name) }

// NameIn is the name that a request for one network or node gives.
func NameIn(r *http.Request) string { return r.URL.Query().Get("name") }

// NetworkChange is the body of a PATCH: KEY=VALUE as `network set` takes them.
type NetworkChange struct {
	Changes []string `json:"changes"`
}

// NetworkView is one definition with how it fares on every host, or a local
// network on the host that has it.
type NetworkView struct {
	Name      string            `json:"name"`
	UUID      string            `json:"uuid"`
	Scope     string            `json:"scope"`
	State     string            `json:"state"`
	Origin    string            `json:"origin"` // node it was made on
	Options   map[string]string `json:"options,omitempty"`
	Pools     []store.Pool      `json:"pools"`
	Segment   string            `json:"segment"`
	Overrides store.Overrides   `json:"overrides,omitzero"`
	Reserved  int               `json:"reserved"` // addresses that operators reserve, as far as this host knows
	Hosts     []NetworkHost     `json:"hosts"`
	// AsOf is set while etcd does not answer this host: all of it is what etcd
	// said last, then.
	AsOf time.Time `json:"asOf,omitzero"`
}

// NetworkHost is a definition on one host.
type NetworkHost struct {
	Node      string   `json:"node"`
	Name      string   `json:"name"` // what people call the node
	Host      string   `json:"host"`
	Connected bool     `json:"connected"` // its agent is
	State     string   `json:"state"`     // of its replica; StateMissing or StateNoTask without one
	Engine    string   `json:"engine,omitempty"`
	Parent    string   `json:"parent,omitempty"` // a container would get now
	Links     []string `json:"links,omitempty"`
	Why       string   `json:"why,omitempty"`
	// HostAccess says whether the host and its containers reach each other: on, or
	// off with why where the agent's default does not apply; "" is off.
	HostAccess string `json:"hostAccess,omitempty"`
	// HostRoutes says whether the host makes routes to other hosts' containers: on, or
	// off with why; "" is off. Unrouted says why others cannot make any to its own.
	HostRoutes string         `json:"hostRoutes,omitempty"`
	Unrouted   string         `json:"unrouted,omitempty"`
	Endpoints  []EndpointView `json:"endpoints,omitempty"`
}

// Called is what people call the node, by whatever the agent told of it.
func (h NetworkHost) Called() string { return cmp.Or(h.Name, h.Host, h.Node) }

// States of a host without a replica.
const (
	StateMissing = "missing" // it should have one
	StateNoTask  = "no task" // the swarm makes its networks only where a task runs
)

// EndpointView is one container on a network.
type EndpointView struct {
	Container string `json:"container"`
	IPv4      string `json:"ipv4,omitempty"`
	IPv6      string `json:"ipv6,omitempty"`
	// Fixed are the addresses that it has besides (gvlan.ip), and Waits those that
	// it is to have when no other container has them.
	Fixed  []string `json:"fixed,omitempty"`
	Waits  []string `json:"waits,omitempty"`
	MAC    string   `json:"mac,omitempty"`
	Parent string   `json:"parent,omitempty"`
}

// Usable counts the hosts on which a container could start.
func (v NetworkView) Usable() int {
	have := 0
	for _, h := range v.Hosts {
		if h.Usable() {
			have++
		}
	}
	return have
}

// Usable reports whether a container could start there: a host without a usable
// parent has the network and says why it is of no use.
func (h NetworkHost) Usable() bool {
	return h.Why == "" && slices.Contains([]journal.Stage{journal.StageCommitted, journal.StageReplica, journal.StageSwarm, journal.StageLocal}, journal.Stage(h.State))
}

// Settled reports whether every connected host has its replica, or says why
// not. A replica that was only seen yet is about to become something else.
func (v NetworkView) Settled() bool {
	return !slices.ContainsFunc(v.Hosts, NetworkHost.Unsettled)
}

// Unsettled reports whether a host is about to have its replica, or to say why
// not.
func (h NetworkHost) Unsettled() bool {
	return h.Connected && (h.State == StateMissing || h.State == string(journal.StageSeen) && h.Why == "")
}

// BGPRoute is of the sessions of this host with routers: BGPView.
const BGPRoute = "/v1/bgp"

// BGPView is with whom this host speaks BGP.
type BGPView struct {
	AS       uint32       `json:"as"` // this host's; 0: it speaks with nobody
	Sessions []BGPSession `json:"sessions"`
}

// BGPSession is how it stands with one router.
type BGPSession struct {
	Peer      string    `json:"peer"` // its address, with a port that is not 179
	AS        uint32    `json:"as"`
	Password  bool      `json:"password"` // the session is signed with one
	State     string    `json:"state"`    // idle, active, opensent, openconfirm or established
	Since     time.Time `json:"since"`    // it is established, or is not
	Announced int       `json:"announced"`
	Received  int       `json:"received"`
	Accepted  int       `json:"accepted"`        // of those received, that are inside of --bgp-import
	Wrong     string    `json:"wrong,omitempty"` // what is not as it should be
}

// RoutesRoute is of the routes of this host to containers of other hosts:
// []RouteView.
const RoutesRoute = "/v1/routes"

// RouteView is one of them.
type RouteView struct {
	Network string       `json:"network,omitempty"` // "" of one that a router told of
	Prefix  netip.Prefix `json:"prefix"`
	Via     netip.Addr   `json:"via,omitzero"` // zero: it is unreachable
	Link    string       `json:"link,omitempty"`
	Table   string       `json:"table"` // a number, or main
	Node    string       `json:"node,omitempty"`
	Host    string       `json:"host,omitempty"` // what people call the node
	Why     string       `json:"why"`            // container, block, own block, told by BGP
	Since   time.Time    `json:"since"`
	Wrong   string       `json:"wrong,omitempty"` // why the kernel does not have it
}
