package route

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Set makes of ours that leave by a link in the caller's reach those that are
// wanted, and leaves all others; unreachable ones leave by "". A route that takes
// another's place is there before the other goes. Each that cannot be made is a Refused
// within the error, and what stood in its place goes; the rest is made.
func (k *Kernel) Set(ctx context.Context, reach func(link string) bool, want State) error {
	ours, l, err := k.ours(ctx)
	if err != nil {
		return err
	}
	return k.apply(ctx, Between(ours.within(reach), want), l, false)
}

// Change is Set for a caller that made what it had, and now wants something else: it
// does not look at what is there, so that one route among ten thousand costs what one
// costs. What somebody took away meanwhile is not made again; Set does that.
func (k *Kernel) Change(ctx context.Context, had, want State) error {
	todo := Between(had, want)
	if todo.IsZero() {
		return nil
	}
	l, err := k.links(ctx)
	if err != nil {
		return err
	}
	return k.apply(ctx, todo, l, true)
}

// apply makes changes; ask: others' routes are looked up one by one.
func (k *Kernel) apply(ctx context.Context, todo Changes, l links, ask bool) error {
	theirs := newOthers(k, todo, l, ask)
	var failed []error
	refused := func(r Route, err error) {
		if err != nil {
			failed = append(failed, &Refused{r.Dst.Addr(), fmt.Errorf("make route %s: %w", r, err)})
		}
	}
	drop := func(r Route) {
		if err := k.drop(r, l); err != nil {
			failed = append(failed, fmt.Errorf("remove route %s: %w", r, err))
		}
	}
	// Neighbours first: what a route leads to is not asked for by ARP.
	for _, n := range todo.Know {
		if err := k.know(n, l.index[n.Link]); err != nil {
			failed = append(failed, &Refused{n.Address, fmt.Errorf("make neighbour %s: %w", n, err)})
		}
	}
	for _, m := range todo.Move {
		replaced, err := k.move(ctx, m, l, theirs)
		refused(m.To, err)
		if !replaced {
			drop(m.From)
		}
	}
	for _, r := range todo.Make {
		refused(r, k.make(ctx, r, l, theirs))
	}
	for _, r := range todo.Drop {
		drop(r)
	}
	for _, n := range todo.DropNeighbours {
		if l.index[n.Link] == 0 { // gone with it
			continue
		}
		err := k.net.NeighDel(&netlink.Neigh{LinkIndex: l.index[n.Link], IP: n.Address.AsSlice()})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("remove neighbour %s: %w", n, err))
		}
	}
	return errors.Join(failed...)
}

// request is a route as the kernel takes it; the error is ENODEV when its link is not
// there: without one the kernel would choose it.
func (k *Kernel) request(r Route, l links) (*netlink.Route, error) {
	route := &netlink.Route{
		Type: unix.RTN_UNICAST, LinkIndex: l.index[r.Link],
		Protocol: netlink.RouteProtocol(k.protocol), Table: r.Table, Priority: r.Metric,
		Dst: &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), r.Dst.Addr().BitLen())},
	}
	switch {
	case r.Unreachable:
		route.Type, route.LinkIndex = unix.RTN_UNREACHABLE, 0
		return route, nil
	case route.LinkIndex == 0:
		return nil, unix.ENODEV
	case r.Via.IsValid():
		route.Gw = r.Via.AsSlice()
	case r.Dst.Addr().Is4():
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Src.IsValid() {
		route.Src = r.Src.AsSlice()
	}
	return route, nil
}

// make adds a route, unless others have one to the same destination.
func (k *Kernel) make(ctx context.Context, r Route, l links, theirs *others) error {
	request, err := k.request(r, l)
	if err != nil {
		return err
	}
	if err := theirs.refuse(ctx, r); err != nil {
		return err
	}
	err = k.net.RouteAdd(request) // exclusive: it replaces nothing
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	there, failed := theirs.at(ctx, r)
	if failed != nil {
		return failed
	}
	ours := false
	for _, e := range there {
		if e.protocol != k.protocol {
			return theirs.inTheWay(e)
		}
		known, _ := e.described(l)
		if known == r {
			return nil
		}
		ours = ours || known.place() == r.place()
	}
	if !ours {
		return fmt.Errorf("%w: %w", ErrInTheWay, err)
	}
	// Out of this caller's reach, or of its memory: behind it, ours waits for its end.
	return k.net.RouteAppend(request)
}

// move makes a route beside the one whose place it takes, unless others have one to
// the same destination. It reports whether the old one went with that.
func (k *Kernel) move(ctx context.Context, m Move, l links, theirs *others) (replaced bool, err error) {
	request, err := k.request(m.To, l)
	if err != nil {
		return false, err
	}
	if err := theirs.refuse(ctx, m.To); err != nil {
		return false, err
	}
	err = k.net.RouteAppend(request)
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	// It is there already, or it is an IPv6 one of the same next hop, which the
	// kernel does not have twice, whatever the source.
	there, err := theirs.at(ctx, m.To)
	if err != nil {
		return false, err
	}
	for _, e := range there {
		if known, _ := e.described(l); known == m.To {
			return false, nil
		}
		if e.protocol != k.protocol {
			return false, theirs.inTheWay(e)
		}
	}
	return true, k.net.RouteReplace(request) // of ours: no other is there
}

// drop removes exactly that route. One that is not there, or whose link is not, has
// gone.
func (k *Kernel) drop(r Route, l links) error {
	request, err := k.request(r, l)
	if err != nil {
		return nil
	}
	if r.Dst.Addr().Is6() {
		// The kernel takes what is not said for anything.
		if !r.Via.IsValid() {
			request.Gw = net.IPv6unspecified
		}
		if r.Unreachable {
			request.LinkIndex = loopback
		}
		if r.Metric == 0 {
			request.Priority = metric6
		}
	}
	err = k.net.RouteDel(request)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// know makes a permanent neighbour in place of what was learnt of the address.
func (k *Kernel) know(n Neighbour, index int) error {
	family := unix.AF_INET6
	if n.Address.Is4() {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.socket}
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(index), State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, n.Address.AsSlice()))
	req.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, n.MAC))
	req.AddData(nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{byte(k.protocol)}))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
