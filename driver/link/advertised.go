package link

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
)

// Advertised is what an interface makes of router advertisements (RFC 4861,
// 4862): whether it takes addresses, a default route and routes from them.
type Advertised string

// What there is beside the kernel's own choice, "": taken, unless the container
// forwards, and no routes but the default one.
const (
	AdvertisedOff Advertised = "off" // nothing is taken
	AdvertisedOn  Advertised = "on"  // everything, also where the container forwards
)

// settings are the kernel's, in net/ipv6/conf/INTERFACE.
func (a Advertised) settings() map[string]string {
	if a == AdvertisedOff {
		return map[string]string{"accept_ra": "0", "autoconf": "0"}
	}
	return map[string]string{"accept_ra": "2", "autoconf": "1", "accept_ra_rt_info_max_plen": "128"}
}

// Heed sets what the interface of an owner makes of router advertisements, in
// the network namespace of the calling thread: call it inside netns.Do. Off
// takes away what was learnt before. It reports whether that is so for good: a
// link keeps no such setting when it comes into a namespace, and whether it
// learnt something is known once it is up. The error is ErrNotFound where the
// owner has no interface yet.
func Heed(owner string, a Advertised) (settled bool, err error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return false, err
	}
	defer handle.Close()
	l, err := markedFor(handle, owner)
	if err != nil {
		return false, err
	}
	for key, value := range a.settings() {
		err := netns.WriteSysctl("net/ipv6/conf/"+l.Attrs().Name+"/"+key, value)
		if errors.Is(err, fs.ErrNotExist) && key == "accept_ra_rt_info_max_plen" {
			continue // a kernel without CONFIG_IPV6_ROUTE_INFO
		}
		if err != nil {
			return false, err
		}
	}
	up := l.Attrs().RawFlags&unix.IFF_UP != 0
	if a == AdvertisedOff && up {
		err = forgetLearnt(handle, l)
	}
	return up, err
}

// Learnt lists the addresses that the interface of an owner made of router
// advertisements, in the network namespace of the calling thread.
func Learnt(owner string) ([]netip.Prefix, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	l, err := markedFor(handle, owner)
	if err != nil {
		return nil, err
	}
	addrs, err := learnt(handle, l)
	var all []netip.Prefix
	for _, a := range addrs {
		all = append(all, prefixOf(a))
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	return all, err
}

// Inside is nil where the network namespace of the calling thread has the
// interface of an owner, and ErrNotFound where not.
func Inside(owner string) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	_, err = markedFor(handle, owner)
	return err
}

// markedFor finds the link with an owner's mark, which it keeps wherever it goes.
func markedFor(handle *netlink.Handle, owner string) (netlink.Link, error) {
	all, err := handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range all {
		if m, ok := parseMark(l.Attrs().Alias); ok && m.owner == owner {
			return l, nil
		}
	}
	return nil, ErrNotFound
}

// learnt are a link's IPv6 addresses with a lifetime, which nobody set for good.
func learnt(handle *netlink.Handle, l netlink.Link) ([]netlink.Addr, error) {
	all, err := handle.AddrList(l, unix.AF_INET6)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	return slices.DeleteFunc(all, func(a netlink.Addr) bool {
		return a.Flags&unix.IFA_F_PERMANENT != 0 || !a.IP.IsGlobalUnicast()
	}), nil
}

func prefixOf(a netlink.Addr) netip.Prefix {
	addr, _ := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

// forgetLearnt takes the addresses away, and the routes that routers told of.
func forgetLearnt(handle *netlink.Handle, l netlink.Link) error {
	addrs, err := learnt(handle, l)
	if err != nil {
		return err
	}
	for i := range addrs {
		err = errors.Join(err, handle.AddrDel(l, &addrs[i]))
	}
	told, lerr := handle.RouteListFiltered(unix.AF_INET6, &netlink.Route{LinkIndex: l.Attrs().Index, Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	err = errors.Join(err, lerr)
	for i := range told {
		err = errors.Join(err, handle.RouteDel(&told[i]))
	}
	return err
}
