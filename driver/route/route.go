// Package route keeps routes and neighbours of ours in a network namespace, the
// host's own or a container's.
//
// Every one that a Kernel makes carries a protocol number, by which it is known
// again after any end of the agent. Set makes those within a caller's reach what it
// wants, as often as it is told to; what others made is never changed: a route of
// theirs to the same place keeps ours from being made, and the error names it. See
// DESIGN.md in this folder.
//
//	route.go   what is wanted, and what it takes from what is there; pure
//	kernel.go  one namespace: what is there, and making it so
//	watch.go   what changes
package route

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Protocol is the number that marks routes and neighbours unless another is set.
// Those that daemons are known by are others (rt_protos of iproute2).
const Protocol = 118

// Route is a way to a destination.
type Route struct {
	Dst    netip.Prefix
	Link   string     // by whose name it leaves
	Via    netip.Addr // next hop; zero: Dst is on the link itself
	Src    netip.Addr // that the namespace speaks from; zero: the kernel's choice
	Table  int        // 0: main
	Metric int
}

// String is the route as `ip route` writes it.
func (r Route) String() string {
	text := r.Dst.String()
	if r.Via.IsValid() {
		text += " via " + r.Via.String()
	}
	if r.Link != "" {
		text += " dev " + r.Link
	}
	if r.Src.IsValid() {
		text += " src " + r.Src.String()
	}
	if r.Table != 0 {
		text += fmt.Sprintf(" table %d", r.Table)
	}
	if r.Metric != 0 {
		text += fmt.Sprintf(" metric %d", r.Metric)
	}
	return text
}

// Neighbour is who has an address on a link, for good.
type Neighbour struct {
	Link    string
	Address netip.Addr
	MAC     net.HardwareAddr
}

// String is the neighbour as `ip neighbour` writes it.
func (n Neighbour) String() string {
	return fmt.Sprintf("%s dev %s lladdr %s", n.Address, n.Link, n.MAC)
}

// State is what a caller wants, or has.
type State struct {
	Routes     []Route
	Neighbours []Neighbour
}

// Address is one of the namespace's own.
type Address struct {
	Link      string
	Prefix    netip.Prefix
	Local     bool // of the link alone, or of the loopback
	Tentative bool // nobody may speak from it yet, or ever: somebody else has it
	Passing   bool // nothing new should begin from it: deprecated, temporary
	Secondary bool // of an IPv4 subnet of which the link has another
}

// ErrInTheWay is wrapped by Refused for a route that others have.
var ErrInTheWay = errors.New("another route to it is in the way, which is not gvlan's")

// Refused is one route or neighbour that could not be made.
type Refused struct {
	To  netip.Addr // a route's destination, a neighbour's address
	Err error
}

// Error implements error.
func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap gives why.
func (r *Refused) Unwrap() error { return r.Err }

// Changes is what it takes to come from one state to another.
type Changes struct {
	Drop, Make           []Route
	DropNeighbours, Know []Neighbour
}

// Between says what it takes to make what is there what is wanted. A route that
// differs in anything is dropped and made.
func Between(there, want State) Changes {
	var c Changes
	for _, r := range there.Routes {
		if !slices.Contains(want.Routes, r) {
			c.Drop = append(c.Drop, r)
		}
	}
	for _, r := range want.Routes {
		if !slices.Contains(there.Routes, r) {
			c.Make = append(c.Make, r)
		}
	}
	for _, n := range there.Neighbours {
		if !slices.ContainsFunc(want.Neighbours, n.same) {
			c.DropNeighbours = append(c.DropNeighbours, n)
		}
	}
	for _, n := range want.Neighbours {
		if !slices.ContainsFunc(there.Neighbours, n.same) {
			c.Know = append(c.Know, n)
		}
	}
	return c
}

func (n Neighbour) same(o Neighbour) bool {
	return n.Link == o.Link && n.Address == o.Address && n.MAC.String() == o.MAC.String()
}

// Sort puts a state into one order, for comparing.
func (s *State) Sort() {
	slices.SortFunc(s.Routes, func(a, b Route) int {
		return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), a.Dst.Bits()-b.Dst.Bits(), cmp.Compare(a.Link, b.Link), a.Table-b.Table, a.Metric-b.Metric)
	})
	slices.SortFunc(s.Neighbours, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Address.Compare(b.Address))
	})
}

// within is the part of a state whose links are in a caller's reach.
func (s State) within(reach func(link string) bool) State {
	return State{
		Routes:     slices.DeleteFunc(slices.Clone(s.Routes), func(r Route) bool { return !reach(r.Link) }),
		Neighbours: slices.DeleteFunc(slices.Clone(s.Neighbours), func(n Neighbour) bool { return !reach(n.Link) }),
	}
}
