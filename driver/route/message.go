package route

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// header is what a route's message begins with: rtnetlink(7), struct rtmsg.
type header struct {
	family, bits, table, protocol, kind int
	flags                               uint32
}

const headerSize = 12 // of struct rtmsg, and of struct ndmsg

func parseHeader(m []byte) (header, bool) {
	if len(m) < headerSize {
		return header{}, false
	}
	return header{int(m[0]), int(m[1]), int(m[4]), int(m[5]), int(m[7]), binary.NativeEndian.Uint32(m[8:])}, true
}

// entry is a route of anybody's as the kernel tells it, by one next hop.
type entry struct {
	header
	Route     // without its Link
	index int // of the link; 0: none
}

// parse reads a route's message, one entry for each next hop, unless it is not asked
// for.
func parse(m []byte, asked func(header, netip.Prefix) bool) []entry {
	head, ok := parseHeader(m)
	if !ok || head.family != unix.AF_INET && head.family != unix.AF_INET6 || head.flags&unix.RTM_F_CLONED != 0 {
		return nil
	}
	attrs, err := nl.ParseRouteAttr(m[headerSize:])
	if err != nil {
		return nil
	}
	dst := netip.IPv4Unspecified()
	if head.family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	var hops []byte
	e := entry{header: head}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_DST:
			dst = address(a.Value)
		case unix.RTA_GATEWAY:
			e.Via = address(a.Value)
		case unix.RTA_PREFSRC:
			e.Src = address(a.Value)
		case unix.RTA_OIF:
			e.index = number(a.Value)
		case unix.RTA_PRIORITY:
			e.Metric = number(a.Value)
		case unix.RTA_TABLE:
			e.table = number(a.Value)
		case unix.RTA_MULTIPATH:
			hops = a.Value
		}
	}
	e.Dst = netip.PrefixFrom(dst, head.bits)
	if !asked(e.header, e.Dst) {
		return nil
	}
	if e.Table = e.table; e.Table == unix.RT_TABLE_MAIN {
		e.Table = 0
	}
	if head.family == unix.AF_INET6 && e.Metric == metric6 {
		e.Metric = 0
	}
	if head.kind == unix.RTN_UNREACHABLE {
		e.Unreachable, e.index = true, 0
	}
	if hops == nil {
		return []entry{e}
	}
	var all []entry
	for len(hops) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(hops))
		if size < unix.SizeofRtNexthop || size > len(hops) {
			break
		}
		e.index, e.Via = number(hops[4:]), netip.Addr{}
		attrs, err := nl.ParseRouteAttr(hops[unix.SizeofRtNexthop:size])
		if err != nil {
			break
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.RTA_GATEWAY {
				e.Via = address(a.Value)
			}
		}
		all = append(all, e)
		hops = hops[min((size+3)&^3, len(hops)):]
	}
	return all
}

// metric6 is what the kernel makes of an IPv6 route without a metric (IP6_RT_PRIO_USER).
const metric6 = 1024

func address(ip []byte) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func number(value []byte) int {
	if len(value) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(value))
}

// described is the route with its link's name, unless the link is not one of those.
func (e entry) described(l links) (r Route, ok bool) {
	r = e.Route
	if e.index != 0 {
		r.Link = l.name[e.index]
		return r, r.Link != ""
	}
	return r, true
}

// named is the route as `ip route` writes it, also what only others have.
func (e entry) named(l links) string {
	r, _ := e.described(l)
	text := r.String() + " proto " + netlink.RouteProtocol(e.protocol).String()
	switch e.kind {
	case unix.RTN_BLACKHOLE:
		return "blackhole " + text
	case unix.RTN_PROHIBIT:
		return "prohibit " + text
	case unix.RTN_THROW:
		return "throw " + text
	}
	return text
}

// dump lists what is asked for of the routes of a family: of a table unless that is
// RT_TABLE_UNSPEC, and with a protocol unless that is 0. A kernel that filters by them
// tells of no others.
func dump(socket *nl.SocketHandle, family, table, protocol int, asked func(header, netip.Prefix) bool) ([]entry, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: socket}
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family), Protocol: uint8(protocol)}})
	if table != unix.RT_TABLE_UNSPEC {
		req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(table))))
	}
	var all []entry
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
		if protocol == 0 || len(m) >= headerSize && int(m[5]) == protocol {
			all = append(all, parse(m, func(head header, dst netip.Prefix) bool {
				return (table == unix.RT_TABLE_UNSPEC || head.table == table) && asked(head, dst)
			})...)
		}
		return true
	})
	if errors.Is(err, unix.ENOENT) { // nobody has made the table yet
		return nil, nil
	}
	return all, err
}

// errNoMatch: the kernel, one before 4.13, names no route of its tables.
var errNoMatch = errors.New("the kernel does not tell which route it takes")

// match gives the route that the kernel takes to an address (RTM_F_FIB_MATCH).
func match(socket *nl.SocketHandle, to netip.Addr) (entry, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: socket}
	family := unix.AF_INET6
	if to.Is4() {
		family = unix.AF_INET
	}
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family), Dst_len: uint8(to.BitLen()), Flags: unix.RTM_F_LOOKUP_TABLE | unix.RTM_F_FIB_MATCH}})
	req.AddData(nl.NewRtAttr(unix.RTA_DST, to.AsSlice()))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return entry{}, err
	}
	for _, m := range messages {
		if all := parse(m, func(header, netip.Prefix) bool { return true }); len(all) > 0 {
			return all[0], nil
		}
	}
	return entry{}, errNoMatch
}

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
