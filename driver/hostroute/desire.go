// Package hostroute has hosts reach each other's containers on networks that route
// (ipvlan l3 and l3s), whose addresses no LAN leads to: on each host a route of the
// kernel's to every container of another host, and routers told of this host's own
// where they speak BGP.
//
// Nothing is remembered: Desire says what there should be from the records of the
// cluster's endpoints and nodes and from what this host has, and Routes makes it so
// whenever something changed. See DESIGN.md in this folder.
//
//	desire.go   what there should be; pure
//	blocks.go   whose a block of addresses is; pure
//	nexthop.go  by which address a host is reached; pure
//	routes.go   making it so, and what people are told
package hostroute

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/route"
)

// View is what a host knows at one moment.
type View struct {
	Node     string // this one
	Defaults journal.Defaults
	Table    int       // of the kernel's, that routes go into; 0: main
	Networks []Network // those of this host
	Located  []Located // of all nodes
	Nodes    map[string]store.Node
	Own      []route.Address // this host's
	Drained  bool            // this host is to have no new containers
	Speaks   bool            // routers are told of this host's containers
	Learned  []route.Route   // what they told
}

// Network is one of this host's.
type Network struct {
	journal.Network
	Parent string               // that its containers hang from; "": there is none now
	Blocks map[netip.Prefix]int // the length of the blocks that a subnet is dealt out in
}

// Located is an address of a container, with the node it is on.
type Located struct {
	Address netip.Addr
	Node    string
	Network string // uuid
	Parent  string // that the container hangs from; "" until it does
	Since   int64  // unix seconds
}

// Reason is why there is a route.
type Reason string

// Why there are routes.
const (
	Container Reason = "container"   // of another host
	Block     Reason = "block"       // of addresses, most of which another host has
	OwnBlock  Reason = "own block"   // what nobody has of it is unreachable
	Learned   Reason = "told by BGP" // by a router
)

// Way is a route with what it is for.
type Way struct {
	route.Route
	Network string // the engine's id; "" of one that a router told of
	Node    string // whose containers it leads to; "" of one that a router told of
	Why     Reason
}

// Plan is what there should be.
type Plan struct {
	Ways     []Way
	Announce []route.Route // to routers: this host's containers, by its own addresses
	// Lacks says by network (the engine's id) why part of it cannot be.
	Lacks map[string]error
}

// Routes are the plan's, as the kernel is told.
func (p Plan) Routes() (s route.State) {
	for _, w := range p.Ways {
		s.Routes = append(s.Routes, w.Route)
	}
	return s
}

// ErrNoAddress: a host has no address on a network's parent by which others could
// reach its containers.
var ErrNoAddress = errors.New("no address on the network's parent")

// ErrNoLAN: the addresses that another host has on the network's parent are in no
// subnet of this one's.
var ErrNoLAN = errors.New("this host shares no LAN with it")

// ErrTwice: two networks have containers with one address, and a host has one way to
// it.
var ErrTwice = errors.New("another network of this host leads there")

// Desire says what there should be.
func Desire(v View) Plan {
	d := desire{View: v, taken: map[netip.Prefix]string{}, hops: map[hopKey]hop{}, plan: Plan{Lacks: map[string]error{}}}
	at := newest(v.Located)
	dealt := map[netip.Prefix]int{}
	for _, n := range v.Networks {
		if n.Options.Layer3() && !n.Isolated() {
			n.Blocks = apart(n.Blocks, dealt)
			d.network(n, at[n.UUID])
		}
	}
	for _, r := range v.Learned {
		d.learned(r)
	}
	return d.plan
}

// alone is what this host tells of itself while it knows of no other: whose a block is
// nobody says.
func (v View) alone() Plan {
	v.Networks = slices.Clone(v.Networks)
	for i := range v.Networks {
		v.Networks[i].Blocks = nil
	}
	return Desire(v)
}

// newest has each address of each network once, in order: of records that contradict
// each other, for as long as a container moves, the latest counts.
func newest(all []Located) map[string][]Located {
	by := map[string][]Located{}
	for _, l := range all {
		by[l.Network] = append(by[l.Network], l)
	}
	for network, list := range by {
		slices.SortFunc(list, func(a, b Located) int {
			return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(b.Since, a.Since), cmp.Compare(a.Node, b.Node))
		})
		by[network] = slices.CompactFunc(list, func(a, b Located) bool { return a.Address == b.Address })
	}
	return by
}

// desire is a Plan in the making.
type desire struct {
	View
	plan  Plan
	taken map[netip.Prefix]string // network, by destination
	hops  map[hopKey]hop
}

// lacks notes why part of what a network wants cannot be: each sentence once.
func (d *desire) lacks(network string, why error) {
	had := d.plan.Lacks[network]
	for _, one := range route.Each(had) {
		if one == why || one.Error() == why.Error() { //nolint:errorlint // that very one: most are
			return
		}
	}
	d.plan.Lacks[network] = errors.Join(append(route.Each(had), why)...)
}

// network plans one: its blocks, and the addresses that are in no block of their
// host's.
func (d *desire) network(n Network, located []Located) {
	for i, l := range located {
		located[i].Parent = cmp.Or(l.Parent, d.parentOn(l.Node, n.UUID))
	}
	blocks := deal(n.Blocks, located)
	maps.DeleteFunc(blocks, func(block netip.Prefix, _ owner) bool { return d.onLAN(block) })
	for _, block := range slices.SortedFunc(maps.Keys(blocks), compare) {
		d.block(n, block, blocks[block])
	}
	for _, l := range located {
		if l.Node == d.Node {
			d.take(n, netip.PrefixFrom(l.Address, l.Address.BitLen())) // nobody else is asked where it is
		}
		if of, dealt := blocks[n.blockOf(l.Address)]; dealt && of.leads(l) && !(d.Drained && l.Node == d.Node) {
			continue
		}
		d.single(n, l)
	}
}

// block plans the way to a block, or tells that it leads here.
func (d *desire) block(n Network, block netip.Prefix, of owner) {
	if of.node != d.Node {
		d.way(n, Located{Address: block.Addr(), Node: of.node, Network: n.UUID, Parent: of.parent}, block, Block)
		return
	}
	if d.take(n, block) && d.routes(n) { // also without routes nobody else is asked
		d.plan.Ways = append(d.plan.Ways, Way{route.Route{Dst: block, Table: d.Table, Unreachable: true}, n.ID, d.Node, OwnBlock})
	}
	if !d.Drained {
		d.announce(n, block, of.parent)
	}
}

// single plans the way to one address.
func (d *desire) single(n Network, l Located) {
	dst := netip.PrefixFrom(l.Address, l.Address.BitLen())
	if l.Node == d.Node {
		d.announce(n, dst, l.Parent)
		return
	}
	d.way(n, l, dst, Container)
}

// way plans a route to what another host has.
func (d *desire) way(n Network, l Located, dst netip.Prefix, why Reason) {
	if !d.routes(n) || n.Parent == "" {
		return // its containers here have no parent either, which is told
	}
	via, err := d.nextHop(n.Parent, l.Node, l.Parent, l.Address.Is4())
	if errors.Is(err, errNotYet) || errors.Is(err, ErrNoLAN) && d.Speaks {
		return // it is about to, or routers lead there
	}
	if err != nil {
		d.lacks(n.ID, err)
		return
	}
	if d.take(n, dst) {
		d.plan.Ways = append(d.plan.Ways, Way{route.Route{Dst: dst, Link: n.Parent, Via: via, Table: d.Table}, n.ID, l.Node, why})
	}
}

func (d *desire) routes(n Network) bool {
	on, _ := n.RoutesHosts(d.Defaults)
	return on
}

// take notes that a network leads to a destination, and reports whether no other does
// that and it is not this host itself.
func (d *desire) take(n Network, dst netip.Prefix) bool {
	if dst.IsSingleIP() && slices.ContainsFunc(d.Own, func(a route.Address) bool { return a.Prefix.Addr() == dst.Addr() }) {
		return false
	}
	if by, had := d.taken[dst]; had {
		if by != n.ID {
			d.lacks(n.ID, fmt.Errorf("%w: %s", ErrTwice, dst))
		}
		return false
	}
	d.taken[dst] = n.ID
	return true
}

// announce has routers told that this host leads to some of its own containers.
func (d *desire) announce(n Network, dst netip.Prefix, parent string) {
	if !d.Speaks || !n.announced() {
		return
	}
	via, ok := d.speaksFrom(cmp.Or(parent, n.Parent), dst.Addr().Is4())
	if !ok {
		d.lacks(n.ID, fmt.Errorf("routers are not told of %s: this host has %w %s: give it one of %s", dst, ErrNoAddress, cmp.Or(parent, n.Parent), family(dst.Addr().Is4())))
		return
	}
	d.plan.Announce = append(d.plan.Announce, route.Route{Dst: dst, Via: via})
}

// announced reports whether routers are told of the network's containers: also where
// the agent makes no routes on this host.
func (n Network) announced() bool {
	on, _ := n.RoutesHosts(journal.Defaults{})
	return on
}

// learned plans what a router told, where this host has no better way.
func (d *desire) learned(r route.Route) {
	// A LAN in a larger prefix has its own route, which comes first.
	inLAN := func(a route.Address) bool {
		return !a.Local && a.Prefix.Bits() <= r.Dst.Bits() && a.Prefix.Contains(r.Dst.Addr())
	}
	// A next hop of the link alone does not say of which: every link has such a subnet.
	if _, had := d.taken[r.Dst]; had || r.Via.IsLinkLocalUnicast() || slices.ContainsFunc(d.Own, inLAN) {
		return
	}
	for _, a := range d.Own {
		if a.Prefix.Contains(r.Via) && a.Prefix.Addr() != r.Via && !a.Tentative {
			d.taken[r.Dst] = ""
			d.plan.Ways = append(d.plan.Ways, Way{route.Route{Dst: r.Dst, Link: a.Link, Via: r.Via, Table: d.Table}, "", "", Learned})
			return
		}
	}
}

// onLAN reports whether a prefix has addresses of a LAN that this host is on.
func (d *desire) onLAN(p netip.Prefix) bool {
	return slices.ContainsFunc(d.Own, func(a route.Address) bool { return !a.Local && a.Prefix.Overlaps(p) && !a.Prefix.IsSingleIP() })
}

func compare(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
