package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Set makes of ours that leave by a link in the caller's reach those that are
// wanted, and leaves all others; unreachable ones leave by "". A route that takes
// another's place is there before the other goes. What is in reach is asked when what
// is there has been listed. Each that cannot be made is a Refused
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
// costs. What somebody took away meanwhile is not made again; Set does that. A route of
// others with a worse metric than one of ours that moves is not seen.
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
			failed = append(failed, &Refused{r.Dst, fmt.Errorf("make route %s: %w", r, err)})
		}
	}
	replaced := map[hop]bool{}
	drop := func(r Route) {
		if replaced[r.hop()] { // and to drop it would be to drop the new one
			return
		}
		if err := k.drop(r, l); err != nil {
			failed = append(failed, fmt.Errorf("remove route %s: %w", r, err))
		}
	}
	// Neighbours first: what a route leads to is not asked for by ARP.
	for _, n := range todo.Know {
		if err := k.know(n, l.index[n.Link]); err != nil {
			failed = append(failed, &Refused{netip.PrefixFrom(n.Address, n.Address.BitLen()), fmt.Errorf("make neighbour %s: %w", n, err)})
		}
	}
	for _, r := range todo.Make {
		refused(r, k.make(ctx, r, l, theirs))
	}
	for _, m := range todo.Move {
		instead, err := k.move(ctx, m, l, theirs)
		refused(m.To, err)
		if instead && err == nil {
			replaced[m.To.hop()] = true
		}
		drop(m.From)
	}
	for _, r := range todo.Drop {
		drop(r)
	}
	for _, n := range todo.DropNeighbours {
		if l.index[n.Link] == 0 { // gone with it
			continue
		}
		if err := k.forget(n, l.index[n.Link]); err != nil {
			failed = append(failed, fmt.Errorf("remove neighbour %s: %w", n, err))
		}
	}
	return errors.Join(failed...)
}

// hop is what IPv6 tells one of ours at a place from another by, and IPv4 one without a
// source.
type hop struct {
	place
	link        string
	via         netip.Addr
	unreachable bool
}

func (r Route) hop() hop { return hop{r.place(), r.Link, r.Via, r.Unreachable} }

// How a route is put beside those to the same place.
const (
	alone   = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	behind  = unix.NLM_F_CREATE | unix.NLM_F_APPEND
	instead = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
)

// put makes a route; the error is ENODEV when its link is not there: without one the
// kernel would choose it.
func (k *Kernel) put(r Route, l links, how int) error {
	if !r.Unreachable && l.index[r.Link] == 0 {
		return unix.ENODEV
	}
	return k.request(unix.RTM_NEWROUTE, how, k.message(r, l.index[r.Link])...)
}

// drop removes exactly that route. One that is not there, or whose link is not, has
// gone.
func (k *Kernel) drop(r Route, l links) error {
	index := l.index[r.Link]
	switch {
	case r.Unreachable && r.Dst.Addr().Is6():
		index = loopback
	case !r.Unreachable && index == 0:
		return nil
	}
	data := k.message(r, index)
	if r.Dst.Addr().Is6() { // the kernel takes what is not said for anything
		if !r.Via.IsValid() {
			data = append(data, nl.NewRtAttr(unix.RTA_GATEWAY, net.IPv6unspecified))
		}
		if r.Metric == 0 {
			data = append(data, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(metric6)))
		}
	}
	err := k.request(unix.RTM_DELROUTE, 0, data...)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// message is a route as the kernel takes it.
func (k *Kernel) message(r Route, index int) []nl.NetlinkRequestData {
	t := r.tableOf()
	head := &nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(t.family), Dst_len: uint8(r.Dst.Bits()), Protocol: uint8(k.protocol), Type: unix.RTN_UNICAST, Scope: unix.RT_SCOPE_UNIVERSE}}
	data := []nl.NetlinkRequestData{head, nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()), nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(t.table)))}
	if index != 0 {
		data = append(data, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	switch {
	case r.Unreachable:
		head.Type = unix.RTN_UNREACHABLE
	case r.Via.IsValid():
		data = append(data, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	case r.Dst.Addr().Is4():
		head.Scope = unix.RT_SCOPE_LINK
	}
	if r.Src.IsValid() {
		data = append(data, nl.NewRtAttr(unix.RTA_PREFSRC, r.Src.AsSlice()))
	}
	if r.Metric != 0 {
		data = append(data, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Metric))))
	}
	return data
}

// request asks the kernel for a change, by the socket whose doing Watch does not tell of.
func (k *Kernel) request(kind, flags int, data ...nl.NetlinkRequestData) error {
	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.socket}
	for _, d := range data {
		req.AddData(d)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// make adds a route, unless others have one to the same destination.
func (k *Kernel) make(ctx context.Context, r Route, l links, theirs *others) error {
	if err := theirs.refuse(ctx, r); err != nil {
		return err
	}
	err := k.put(r, l, alone)
	if errors.Is(err, unix.EEXIST) {
		// What of ours is out of this caller's reach, or of its memory, is before it
		// until it goes.
		_, err = k.beside(ctx, r, l, theirs)
	}
	return err
}

// move makes a route beside the one whose place it takes, unless others have one to
// the same destination. It reports whether nothing else leads to the same next hop then.
func (k *Kernel) move(ctx context.Context, m Move, l links, theirs *others) (replaced bool, err error) {
	if err := theirs.refuse(ctx, m.To); err != nil {
		return false, err
	}
	err = k.put(m.To, l, behind)
	switch {
	case errors.Is(err, unix.EEXIST):
		return k.beside(ctx, m.To, l, theirs)
	case err != nil || m.From.hop() != m.To.hop():
		return false, err
	case m.To.Dst.Addr().Is6():
		return true, nil // or it would have been there
	}
	// To drop one without a source drops one that has any, where it is not there.
	there, err := theirs.at(ctx, m.To)
	return !slices.ContainsFunc(there, func(e entry) bool {
		known, _ := e.described(l)
		return known == m.From
	}), err
}

// beside makes a route where the kernel says that something is, if all of that is ours.
// It reports whether it did so in place of one to the same next hop, which IPv6 does
// not have twice, whatever the source.
func (k *Kernel) beside(ctx context.Context, r Route, l links, theirs *others) (replaced bool, err error) {
	there, err := theirs.at(ctx, r)
	if err != nil {
		return false, err
	}
	here := 0
	for _, e := range there {
		if e.protocol != k.protocol {
			return false, theirs.inTheWay(e)
		}
		known, _ := e.described(l)
		if known == r {
			return false, nil
		}
		if known.place() == r.place() {
			here++
		}
	}
	if here == 0 { // it came after the look at others'
		return false, fmt.Errorf("%w: %w", ErrInTheWay, unix.EEXIST)
	}
	if err := k.put(r, l, behind); !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	if here == 1 {
		return true, k.put(r, l, instead)
	}
	// The kernel would replace the first. Without this one, the others are there.
	if err := k.drop(r, l); err != nil {
		return false, err
	}
	return true, k.put(r, l, behind)
}

// know makes a permanent neighbour in place of what was learnt of the address.
func (k *Kernel) know(n Neighbour, index int) error {
	return k.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		&netlink.Ndmsg{Family: n.family(), Index: uint32(index), State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST},
		nl.NewRtAttr(netlink.NDA_DST, n.Address.AsSlice()),
		nl.NewRtAttr(netlink.NDA_LLADDR, n.MAC),
		nl.NewRtAttr(netlink.NDA_PROTOCOL, []byte{byte(k.protocol)}))
}

// forget removes a neighbour.
func (k *Kernel) forget(n Neighbour, index int) error {
	err := k.request(unix.RTM_DELNEIGH, 0, &netlink.Ndmsg{Family: n.family(), Index: uint32(index)}, nl.NewRtAttr(netlink.NDA_DST, n.Address.AsSlice()))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (n Neighbour) family() uint8 {
	if n.Address.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
