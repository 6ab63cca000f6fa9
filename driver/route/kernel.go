package route

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	gvnetns "gvlan/driver/netns"
	"gvlan/driver/rtnetlink"
)

// Kernel has the routes and neighbours of one network namespace.
type Kernel struct {
	protocol int
	net      *rtnetlink.Namespace
	socket   *nl.SocketHandle // for what the library has no call for
}

// Open gives the Kernel of the namespace with a descriptor, which the caller may
// close afterwards; rtnetlink.Current is the calling thread's own. What it makes has the
// protocol number.
func Open(fd, protocol int) (*Kernel, error) {
	net, err := rtnetlink.Open(fd)
	if err != nil {
		return nil, err
	}
	k := &Kernel{protocol: protocol, net: net}
	socket, err := nl.GetNetlinkSocketAt(net.NS, netns.None(), unix.NETLINK_ROUTE)
	if err == nil {
		k.socket = &nl.SocketHandle{Socket: socket}
		err = errors.Join(socket.SetReceiveTimeout(timeval()), socket.SetSendTimeout(timeval()))
	}
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return k, nil
}

func timeval() *unix.Timeval {
	tv := unix.NsecToTimeval(rtnetlink.RequestTimeout.Nanoseconds())
	return &tv
}

// Close releases the namespace. What was made stays.
func (k *Kernel) Close() error {
	if k.socket != nil {
		k.socket.Close()
	}
	return k.net.Close()
}

// names gives the names of links by index, and the other way round.
func (k *Kernel) names(ctx context.Context) (byIndex map[int]string, byName map[string]int, err error) {
	all, err := rtnetlink.Dump(ctx, k.net.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	byIndex, byName = make(map[int]string, len(all)), make(map[string]int, len(all))
	for _, l := range all {
		byIndex[l.Attrs().Index], byName[l.Attrs().Name] = l.Attrs().Name, l.Attrs().Index
	}
	return byIndex, byName, nil
}

// Addresses lists the namespace's own.
func (k *Kernel) Addresses(ctx context.Context) ([]Address, error) {
	names, _, err := k.names(ctx)
	if err != nil {
		return nil, err
	}
	all, err := rtnetlink.Dump(ctx, func() ([]netlink.Addr, error) { return k.net.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var own []Address
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ip = ip.Unmap()
		bits, _ := a.Mask.Size()
		own = append(own, Address{
			Link: names[a.LinkIndex], Prefix: netip.PrefixFrom(ip, bits),
			Local:     ip.IsLoopback() || ip.IsLinkLocalUnicast() || a.Scope == unix.RT_SCOPE_HOST || a.Scope == unix.RT_SCOPE_LINK,
			Tentative: a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
			Passing:   a.Flags&unix.IFA_F_DEPRECATED != 0 || ip.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0,
			Secondary: ip.Is4() && a.Flags&unix.IFA_F_SECONDARY != 0,
		})
	}
	return own, nil
}

// Strict reports whether a link drops what its answers would not leave by
// (net.ipv4.conf.LINK.rp_filter=1), which the setting for all links may say.
func (k *Kernel) Strict(link string) (strict bool, err error) {
	err = gvnetns.Do("/proc/self/fd/"+strconv.Itoa(int(k.net.NS)), func() error {
		most := 0
		for _, of := range []string{"all", link} {
			text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + of + "/rp_filter")
			if err != nil {
				return err
			}
			value, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return err
			}
			most = max(most, value)
		}
		strict = most == 1 // 2 is loose, and the greater counts
		return nil
	})
	return strict, err
}

// Ours lists what carries the protocol number.
func (k *Kernel) Ours(ctx context.Context) (State, error) {
	names, _, err := k.names(ctx)
	if err != nil {
		return State{}, err
	}
	var s State
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := rtnetlink.Dump(ctx, func() ([]netlink.Route, error) {
			return k.net.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: netlink.RouteProtocol(k.protocol)}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil {
			return State{}, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range all {
			s.Routes = append(s.Routes, described(r, family, names))
		}
	}
	s.Neighbours, err = rtnetlink.Dump(ctx, func() ([]Neighbour, error) { return k.neighbours(names) })
	s.Sort()
	return s, err
}

// described reads the kernel's route.
func described(r netlink.Route, family int, names map[int]string) Route {
	route := Route{Dst: destination(r.Dst, family), Link: names[r.LinkIndex], Table: r.Table, Metric: r.Priority}
	route.Via, route.Src = address(r.Gw), address(r.Src)
	if route.Table == unix.RT_TABLE_MAIN {
		route.Table = 0
	}
	if family == netlink.FAMILY_V6 && route.Metric == metric6 {
		route.Metric = 0
	}
	return route
}

// metric6 is what the kernel makes of an IPv6 route without a metric (IP6_RT_PRIO_USER).
const metric6 = 1024

func address(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func destination(dst *net.IPNet, family int) netip.Prefix {
	if dst == nil && family == netlink.FAMILY_V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if dst == nil {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	bits, _ := dst.Mask.Size()
	return netip.PrefixFrom(address(dst.IP), bits)
}

// Set makes of ours that leave by a link in the caller's reach those that are
// wanted, and leaves all others. Each that cannot be made is a Refused within the
// error; the rest is made.
func (k *Kernel) Set(ctx context.Context, reach func(link string) bool, want State) error {
	ours, err := k.Ours(ctx)
	if err != nil {
		return err
	}
	_, index, err := k.names(ctx)
	if err != nil {
		return err
	}
	todo := Between(ours.within(reach), want)
	var failed []error
	// What leaves by a link that went meanwhile has gone with it: without a link a
	// request would be about another's.
	gone := func(link string) bool { return index[link] == 0 }
	todo.Drop = slices.DeleteFunc(todo.Drop, func(r Route) bool { return gone(r.Link) })
	todo.DropNeighbours = slices.DeleteFunc(todo.DropNeighbours, func(n Neighbour) bool { return gone(n.Link) })
	for _, r := range todo.Drop {
		if err := k.net.RouteDel(k.request(r, index[r.Link])); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, fmt.Errorf("remove route %s: %w", r, err))
		}
	}
	for _, n := range todo.DropNeighbours {
		err := k.net.NeighDel(&netlink.Neigh{LinkIndex: index[n.Link], IP: n.Address.AsSlice()})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("remove neighbour %s: %w", n, err))
		}
	}
	// Neighbours first: what a route leads to is not asked for by ARP.
	for _, n := range todo.Know {
		if err := k.know(n, index[n.Link]); err != nil {
			failed = append(failed, &Refused{n.Address, fmt.Errorf("make neighbour %s: %w", n, err)})
		}
	}
	for _, r := range todo.Make {
		if err := k.make(ctx, r, index[r.Link]); err != nil {
			failed = append(failed, &Refused{r.Dst.Addr(), fmt.Errorf("make route %s: %w", r, err)})
		}
	}
	return errors.Join(failed...)
}

// request is a route as the kernel takes it.
func (k *Kernel) request(r Route, index int) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: index, Protocol: netlink.RouteProtocol(k.protocol), Table: r.Table, Priority: r.Metric,
		Dst: &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), r.Dst.Addr().BitLen())},
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	} else if r.Dst.Addr().Is4() {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Src.IsValid() {
		route.Src = r.Src.AsSlice()
	}
	return route
}

// make adds a route, unless others have one to the same destination.
func (k *Kernel) make(ctx context.Context, r Route, index int) error {
	route := k.request(r, index)
	if other, err := k.other(ctx, r); err != nil || other != "" {
		if other != "" {
			err = fmt.Errorf("%w: %s", ErrInTheWay, other)
		}
		return err
	}
	err := k.net.RouteAdd(route) // exclusive: it replaces nothing
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %w", ErrInTheWay, err)
	}
	return err
}

// other is a route of others to the same destination in the same table, as `ip
// route` writes it; "" for none.
func (k *Kernel) other(ctx context.Context, r Route) (string, error) {
	family := netlink.FAMILY_V6
	if r.Dst.Addr().Is4() {
		family = netlink.FAMILY_V4
	}
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	found, err := rtnetlink.Dump(ctx, func() ([]netlink.Route, error) {
		filter := &netlink.Route{Table: table, Dst: k.request(r, 0).Dst}
		return k.net.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	})
	if err != nil {
		return "", fmt.Errorf("list routes: %w", err)
	}
	names, _, err := k.names(ctx)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(found, func(f netlink.Route) bool { return int(f.Protocol) != k.protocol })
	if at < 0 {
		return "", nil
	}
	return described(found[at], family, names).String() + " proto " + found[at].Protocol.String(), nil
}

// neighbours lists the permanent ones that carry the protocol number, which the
// kernel keeps since Linux 5.0.
func (k *Kernel) neighbours(names map[int]string) ([]Neighbour, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.socket}
	req.AddData(&netlink.Ndmsg{Family: unix.AF_UNSPEC})
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var ours []Neighbour
	for _, m := range messages {
		n, index, protocol, ok := parseNeighbour(m)
		if ok && protocol == k.protocol {
			n.Link = names[index]
			ours = append(ours, n)
		}
	}
	return ours, nil
}

// headerSize is of struct ndmsg.
const headerSize = 12

// parseNeighbour reads a neighbour's message: rtnetlink(7), struct ndmsg.
func parseNeighbour(m []byte) (n Neighbour, index, protocol int, ok bool) {
	if len(m) < headerSize || binary.NativeEndian.Uint16(m[8:])&unix.NUD_PERMANENT == 0 {
		return Neighbour{}, 0, 0, false
	}
	index = int(int32(binary.NativeEndian.Uint32(m[4:])))
	attrs, err := nl.ParseRouteAttr(m[headerSize:])
	if err != nil {
		return Neighbour{}, 0, 0, false
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case netlink.NDA_DST:
			n.Address, ok = netip.AddrFromSlice(a.Value)
		case netlink.NDA_LLADDR:
			n.MAC = slices.Clone(net.HardwareAddr(a.Value))
		case netlink.NDA_PROTOCOL:
			if len(a.Value) > 0 {
				protocol = int(a.Value[0])
			}
		}
	}
	n.Address = n.Address.Unmap()
	return n, index, protocol, ok
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
