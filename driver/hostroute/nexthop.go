package hostroute

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/route"
)

// errNotYet: a node has not said yet what its containers hang from.
var errNotYet = errors.New("not told yet")

type hopKey struct {
	parent, node, on string
	v4               bool
}

type hop struct {
	via netip.Addr
	err error
}

// nextHop is the address on another node's interface that is on a LAN of this host's
// parent.
func (d *desire) nextHop(parent, node, on string, v4 bool) (netip.Addr, error) {
	key := hopKey{parent, node, on, v4}
	if had, known := d.hops[key]; known {
		return had.via, had.err
	}
	via, err := d.findHop(key)
	d.hops[key] = hop{via, err}
	return via, err
}

func (d *desire) findHop(k hopKey) (netip.Addr, error) {
	node, known := d.Nodes[k.node]
	called := cmp.Or(node.Host, k.node)
	if !known || k.on == "" {
		return netip.Addr{}, errNotYet
	}
	theirs := On(node, k.on, k.v4)
	if len(theirs) == 0 {
		return netip.Addr{}, fmt.Errorf("%s has %w %s: give it one of %s there", called, ErrNoAddress, k.on, family(k.v4))
	}
	own := d.ownOn(k.parent, k.v4)
	if len(own) == 0 {
		return netip.Addr{}, fmt.Errorf("this host has %w %s: give it one of %s", ErrNoAddress, k.parent, family(k.v4))
	}
	rank := func(p netip.Prefix) int {
		switch {
		case p.Addr().IsLinkLocalUnicast():
			return 2
		case p.IsSingleIP(): // it may be one that goes from host to host
			return 1
		}
		return 0
	}
	slices.SortStableFunc(theirs, func(a, b netip.Prefix) int { return rank(a) - rank(b) })
	for _, t := range theirs {
		shared := func(a route.Address) bool { return a.Prefix.Contains(t.Addr()) }
		mine := func(a route.Address) bool { return a.Prefix.Addr() == t.Addr() }
		if slices.ContainsFunc(own, shared) && !slices.ContainsFunc(own, mine) {
			return t.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w: what %s has on %s (%s) is in no subnet of %s: such hosts need routers that speak BGP (--bgp-peer), or an address of one LAN", ErrNoLAN, called, k.on, theirs[0], k.parent)
}

// ownOn are this host's addresses on an interface.
func (d *desire) ownOn(name string, v4 bool) (own []route.Address) {
	for _, a := range d.Own {
		if a.Link == name && a.Prefix.Addr().Is4() == v4 && !a.Tentative {
			own = append(own, a)
		}
	}
	return own
}

// speaksFrom is the address of this host by which routers reach an interface: one
// that stays, and that is not of the link alone.
func (d *desire) speaksFrom(name string, v4 bool) (netip.Addr, bool) {
	own := slices.DeleteFunc(d.ownOn(name, v4), func(a route.Address) bool { return a.Local })
	if len(own) == 0 {
		return netip.Addr{}, false
	}
	passing := func(a route.Address) int {
		if a.Passing || a.Secondary {
			return 1
		}
		return 0
	}
	best := slices.MinFunc(own, func(a, b route.Address) int {
		return cmp.Or(passing(a)-passing(b), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return best.Prefix.Addr(), true
}

// parentOn is what a node says its containers of a network would hang from.
func (d *desire) parentOn(node, network string) string { return ParentOf(d.Nodes[node], network) }

// ParentOf is what a node says its containers of a network (uuid) would hang from; ""
// where it has none, or does not say.
func ParentOf(node store.Node, network string) string {
	for _, n := range node.Networks {
		if n.UUID == network {
			return n.Parent
		}
	}
	return ""
}

// Unreached says, with the cure, by which IP versions other hosts have no address to
// reach a node's containers by; "" where they have.
func Unreached(node store.Node, parent string, v4, v6 bool) string {
	var lacks []string
	if v4 && len(On(node, parent, true)) == 0 {
		lacks = append(lacks, family(true))
	}
	if v6 && len(On(node, parent, false)) == 0 {
		lacks = append(lacks, family(false))
	}
	if len(lacks) == 0 {
		return ""
	}
	return fmt.Sprintf("%s has no address of %s: give it one", parent, strings.Join(lacks, " and "))
}

// On are a node's addresses on an interface of its own, in order: an IPv6 interface
// has one of the link at least.
func On(node store.Node, name string, v4 bool) (all []netip.Prefix) {
	for _, i := range node.Interfaces {
		if i.Name != name {
			continue
		}
		for _, text := range i.Addresses {
			if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() == v4 {
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, compare)
	return all
}

func family(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}
