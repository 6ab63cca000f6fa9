package link

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Holder finds the interface that is up and has the address, in the network
// namespace of the calling thread: call it inside netns.Do. The error is
// ErrNotFound where none has it.
func Holder(addr netip.Addr) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		has, err := i.Addrs()
		if err != nil {
			return "", err
		}
		for _, h := range has {
			if p, err := netip.ParsePrefix(h.String()); err == nil && p.Addr().Unmap() == addr {
				return i.Name, nil
			}
		}
	}
	return "", ErrNotFound
}

// Silence takes down the interface that has the address, in the network
// namespace of the calling thread: call it inside netns.Do.
func Silence(addr netip.Addr) error {
	name, err := Holder(addr)
	if err != nil {
		return err
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	l, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	return handle.LinkSetDown(l)
}

// Routes lists the destinations of the routes in the network namespace of the
// calling thread; default routes are left out.
func Routes() ([]netip.Prefix, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var all []netip.Prefix
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := handle.RouteList(nil, family)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if p, ok := destination(r.Dst); ok {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// destination is where a route leads, unless it is a default route.
func destination(dst *net.IPNet) (netip.Prefix, bool) {
	if dst == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(dst.IP)
	bits, _ := dst.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), bits), true
}
