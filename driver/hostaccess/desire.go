// Package hostaccess lets this host and its own containers reach each other, on the
// networks that want it: the kernel keeps containers of macvlan and ipvlan links from
// their parent.
//
// The host gets a shim, a link of its own beside the containers' (link.Shim), a
// route by it to each container, and where one has to know whom to speak to, a
// neighbour; containers get neighbours and routes for what the host's addresses are.
// Nothing is remembered: Desire says what there should be from what there is, and
// Access makes it so whenever something changed. See DESIGN.md in this folder.
//
//	desire.go  what there should be; pure
//	access.go  making it so
//	inside.go  the part within containers' namespaces
package hostaccess

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/route"
)

// View is this host at one moment.
type View struct {
	Driver, Node string           // as shims are made of
	Defaults     journal.Defaults // of networks that say nothing of it
	Networks     []journal.Network
	Endpoints    []Endpoint
	Interfaces   []link.Interface
	MACs         map[string]net.HardwareAddr // of parents
	Strict       map[string]bool             // parents that drop what their answers would not leave by
	Addresses    []route.Address             // the host's own
}

// Endpoint is one of this host's, with all of its addresses.
type Endpoint struct {
	journal.Endpoint
	All []netip.Addr
}

// Plan is what there should be.
type Plan struct {
	Shims []link.Spec
	Host  route.State
	// Inside is what a container should have of the host's addresses, by endpoint:
	// whoever is not in it should have nothing.
	Inside map[string]Inside
	// Lacks says by network (the engine's id) why part of it cannot be.
	Lacks map[string]error
	// Of is whose a shim, by name, or a container's address is: networks' ids.
	Of map[string][]string
}

// Inside is what a container's link knows of its host.
type Inside struct {
	Addresses []netip.Addr                    // of the link, by which it is found
	Hosts     []netip.Addr                    // the host's addresses that need a route there
	Knows     map[netip.Addr]net.HardwareAddr // of the host's addresses
}

// ErrNoAddress: this host has no address to speak to its containers from.
var ErrNoAddress = errors.New("this host has no address of that family that its containers could reach it by")

// ErrStrict: the parent of an ipvlan l2 network drops what comes from containers,
// since the way back to them is another.
var ErrStrict = errors.New("strict reverse path filtering drops what containers send to this host")

// ErrTwice: networks of several LANs have one address in use, and this host has one
// way to it.
var ErrTwice = errors.New("a container on another parent of this host has the same address, and this host reaches that one")

// Desire says what there should be.
func Desire(v View) Plan {
	d := desire{View: v, taken: map[netip.Addr]string{}, plan: Plan{Inside: map[string]Inside{}, Lacks: map[string]error{}, Of: map[string][]string{}}}
	networks := map[string]journal.Network{}
	for _, n := range v.Networks {
		networks[n.ID] = n
	}
	newest := map[string]Endpoint{} // by parent
	for _, e := range v.Endpoints {
		if _, known := networks[e.Network]; known && e.joined() && e.Since >= newest[e.Parent].Since {
			newest[e.Parent] = e
		}
	}
	for _, e := range v.Endpoints {
		n, known := networks[e.Network]
		if !known || !e.joined() || !wants(n, v.Defaults) {
			continue
		}
		if link.Beside(n.Options.Spec(), networks[newest[e.Parent].Network].Options.Spec()) != "" {
			continue // it has ended, or the newest could not have begun
		}
		d.endpoint(n, e)
	}
	d.plan.Host.Sort()
	return d.plan
}

// joined reports whether the endpoint has a link.
func (e Endpoint) joined() bool { return e.Link != "" && e.Parent != "" }

func wants(n journal.Network, byDefault journal.Defaults) bool {
	on, _ := n.HostAccess(byDefault)
	return on
}

// desire is a Plan in the making.
type desire struct {
	View
	plan  Plan
	taken map[netip.Addr]string // shims, by the address that they lead to
}

// lacks notes why part of what a network wants cannot be: each kind of reason once.
func (d *desire) lacks(network string, kind error, why error) {
	switch had := d.plan.Lacks[network]; {
	case had == nil:
		d.plan.Lacks[network] = why
	case !errors.Is(had, kind):
		d.plan.Lacks[network] = errors.Join(had, why)
	}
}

func (d *desire) endpoint(n journal.Network, e Endpoint) {
	o := n.Options
	shim := link.Shim(d.Driver, d.Node, e.Parent, o.Kind, o.Mode, o.Flag)
	if o.Kind == link.Ipvlan && o.Mode == link.L2 && e.IPv4.IsValid() && d.Strict[e.Parent] {
		d.lacks(n.ID, ErrStrict, fmt.Errorf("%w: set net.ipv4.conf.%s.rp_filter=2 (loose)", ErrStrict, e.Parent))
	}
	inside := Inside{Addresses: e.All, Knows: map[netip.Addr]net.HardwareAddr{}}
	for _, addr := range e.All {
		hosts := d.hosts(e.Parent, addr.Is4())
		if len(hosts) == 0 {
			d.lacks(n.ID, ErrNoAddress, fmt.Errorf("%w: give %s one, for %s", ErrNoAddress, e.Parent, addr))
			continue
		}
		if by := d.taken[addr]; by != "" && by != shim.Name {
			d.lacks(n.ID, ErrTwice, fmt.Errorf("%w: %s on %s", ErrTwice, addr, e.Parent))
			continue
		}
		d.taken[addr] = shim.Name
		d.plan.Host.Routes = append(d.plan.Host.Routes, route.Route{
			Dst: netip.PrefixFrom(addr, addr.BitLen()), Link: shim.Name, Src: source(hosts, addr),
		})
		d.own(addr.String(), n.ID)
		for _, h := range hosts {
			if needsRoute(n, e, h.Prefix.Addr()) {
				inside.Hosts = append(inside.Hosts, h.Prefix.Addr())
			}
		}
		if o.Layer3() {
			continue // links without neighbours
		}
		mac, own := d.MACs[e.Parent], d.MACs[e.Parent]
		if o.Kind == link.Macvlan {
			mac, _ = net.ParseMAC(e.MAC)
			own = shim.MAC
		}
		d.plan.Host.Neighbours = append(d.plan.Host.Neighbours, route.Neighbour{Link: shim.Name, Address: addr, MAC: mac})
		for _, h := range hosts {
			inside.Knows[h.Prefix.Addr()] = own
		}
	}
	if !slices.ContainsFunc(d.plan.Shims, func(s link.Spec) bool { return s.Name == shim.Name }) {
		d.plan.Shims = append(d.plan.Shims, shim)
	}
	d.own(shim.Name, n.ID)
	if e.Sandbox != "" {
		d.plan.Inside[e.ID] = inside
	}
}

// own notes whose something is.
func (d *desire) own(what, network string) {
	if !slices.Contains(d.plan.Of[what], network) {
		d.plan.Of[what] = append(d.plan.Of[what], network)
	}
}

// needsRoute reports whether a container would send to an address of its host by
// somebody else, or not at all.
func needsRoute(n journal.Network, e Endpoint, host netip.Addr) bool {
	if n.Options.Layer3() {
		return n.Isolated() // others send everything by their link
	}
	return !e.IPv4.Contains(host) && !e.IPv6.Masked().Contains(host)
}

// hosts are the addresses by which containers on a parent reach this host: those
// of the parent, and where it has none, those of the interface that leads out.
func (d *desire) hosts(parent string, v4 bool) []route.Address {
	on := func(name string) []route.Address {
		var found []route.Address
		for _, a := range d.Addresses {
			if a.Link == name && a.Prefix.Addr().Is4() == v4 && !a.Local && !a.Tentative {
				found = append(found, a)
			}
		}
		return found
	}
	if found := on(parent); len(found) > 0 {
		return found
	}
	for _, i := range d.Interfaces {
		if i.DefaultRoute {
			if found := on(i.Name); len(found) > 0 {
				return found
			}
		}
	}
	return nil
}

// source is the address a host speaks to a container from: one of the container's
// subnet, one that stays, the subnet's first, the lowest.
func source(hosts []route.Address, to netip.Addr) netip.Addr {
	rank := func(a route.Address) int {
		r := 0
		for i, bad := range []bool{a.Secondary, a.Passing, !a.Prefix.Contains(to)} {
			if bad {
				r |= 1 << i
			}
		}
		return r
	}
	best := slices.MinFunc(hosts, func(a, b route.Address) int {
		return cmp.Or(rank(a)-rank(b), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return best.Prefix.Addr()
}
