// Package route keeps routes and neighbours of ours in a network namespace, the
// host's own or a container's.
//
// Every one that a Kernel makes carries a protocol number, by which it is known
// again after any end of the agent. Set makes those within a caller's reach what it
// wants, as often as it is told to, and Change what differs from what it wanted
// before; what others made is never changed: a route of theirs to the same place keeps
// ours from being made, and the error names it. See DESIGN.md in this folder.
//
//	route.go     what is wanted, and what it takes from what is there; pure
//	kernel.go    one namespace, and what is there
//	set.go       making it so
//	others.go    what others have to the same destinations
//	message.go   the kernel's messages
//	watch.go     what changes
//	watching.go  following that while somebody wants to
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
	Metric int        // 0: the kernel's own choice
	// Unreachable tells senders that nobody is there (RTN_UNREACHABLE), and has
	// neither Link, Via nor Src.
	Unreachable bool
}

// String is the route as `ip route` writes it.
func (r Route) String() string {
	text := r.Dst.String()
	if r.Unreachable {
		text = "unreachable " + text
	}
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

// State is what a caller wants, or has, each once.
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
	To  netip.Prefix // a route's destination, a neighbour's address
	Err error
}

// Error implements error.
func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap gives why.
func (r *Refused) Unwrap() error { return r.Err }

// Each takes what Set returns apart: nil is none.
func Each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// Changes is what it takes to come from one state to another, in the order in which
// no destination is without a route that has one before and after: Know, Make, Move,
// Drop, DropNeighbours.
type Changes struct {
	Know           []Neighbour
	Make           []Route // more specific ones first
	Move           []Move
	Drop           []Route // more specific ones last
	DropNeighbours []Neighbour
}

// Move is a route that takes the place of another: it comes before the other goes.
type Move struct{ From, To Route }

// place is where the kernel has room for one route, unless more are asked for.
type place struct {
	dst           netip.Prefix
	table, metric int
}

func (r Route) place() place { return place{r.Dst, r.Table, r.Metric} }

// Between says what it takes to make what is there what is wanted. A route that
// differs in anything from one to the same Dst in the same table and with the same
// metric takes its place.
func Between(there, want State) Changes {
	var c Changes
	// What is in one order differs in the middle, where one of ten thousand does.
	there.Routes, want.Routes = differing(there.Routes, want.Routes)
	had, wanted := make(map[Route]bool, len(there.Routes)), make(map[Route]bool, len(want.Routes))
	for _, r := range want.Routes {
		wanted[r] = true
	}
	left := map[place][]Route{} // what is not wanted any more
	for _, r := range there.Routes {
		if had[r] = true; !wanted[r] {
			left[r.place()] = append(left[r.place()], r)
		}
	}
	moved := map[Route]bool{}
	for _, r := range want.Routes {
		if had[r] {
			continue
		}
		had[r] = true
		if from := left[r.place()]; len(from) > 0 {
			left[r.place()] = from[1:]
			moved[from[0]] = true
			c.Move = append(c.Move, Move{from[0], r})
		} else {
			c.Make = append(c.Make, r)
		}
	}
	for _, r := range there.Routes {
		if !wanted[r] && !moved[r] {
			c.Drop = append(c.Drop, r)
		}
	}
	// A block that is unreachable but for its addresses comes last and goes first.
	slices.SortStableFunc(c.Make, func(a, b Route) int { return b.Dst.Bits() - a.Dst.Bits() })
	slices.SortStableFunc(c.Drop, func(a, b Route) int { return a.Dst.Bits() - b.Dst.Bits() })

	known, knows := neighboursBy(there.Neighbours), neighboursBy(want.Neighbours)
	for _, n := range want.Neighbours {
		if mac, ok := known[n.on()]; !ok || mac != n.MAC.String() {
			c.Know = append(c.Know, n)
		}
	}
	for _, n := range there.Neighbours {
		if _, ok := knows[n.on()]; !ok { // one with another MAC is made in its place
			c.DropNeighbours = append(c.DropNeighbours, n)
		}
	}
	return c
}

// differing takes what is the same from both ends.
func differing(a, b []Route) (_, _ []Route) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}

// IsZero reports whether nothing is to be done.
func (c Changes) IsZero() bool {
	return len(c.Know)+len(c.Move)+len(c.Make)+len(c.Drop)+len(c.DropNeighbours) == 0
}

// on is where the kernel has room for one neighbour.
type on struct {
	link    string
	address netip.Addr
}

func (n Neighbour) on() on { return on{n.Link, n.Address} }

// neighboursBy gives MACs.
func neighboursBy(all []Neighbour) map[on]string {
	by := make(map[on]string, len(all))
	for _, n := range all {
		by[n.on()] = n.MAC.String()
	}
	return by
}

// Sort puts a state into one order, for comparing.
func (s *State) Sort() {
	slices.SortFunc(s.Routes, func(a, b Route) int {
		return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), a.Dst.Bits()-b.Dst.Bits(), cmp.Compare(a.Link, b.Link), a.Table-b.Table, a.Metric-b.Metric, a.Via.Compare(b.Via), a.Src.Compare(b.Src))
	})
	slices.SortFunc(s.Neighbours, func(a, b Neighbour) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Address.Compare(b.Address))
	})
}

// within leaves of a state what leaves by links in a caller's reach, who is asked for
// each once.
func (s State) within(reach func(link string) bool) State {
	asked := map[string]bool{}
	far := func(link string) bool {
		answer, ok := asked[link]
		if !ok {
			answer = !reach(link)
			asked[link] = answer
		}
		return answer
	}
	return State{
		Routes:     slices.DeleteFunc(s.Routes, func(r Route) bool { return far(r.Link) }),
		Neighbours: slices.DeleteFunc(s.Neighbours, func(n Neighbour) bool { return far(n.Link) }),
	}
}
