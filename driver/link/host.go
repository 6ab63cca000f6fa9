package link

import (
	"fmt"
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
	return onLink(name, func(handle *netlink.Handle, l netlink.Link) error { return handle.LinkSetDown(l) })
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

// Neighbour is who has an address, as the kernel met it lately.
type Neighbour struct {
	Address netip.Addr
	MAC     net.HardwareAddr
}

// Neighbours lists whom the kernel met at an interface, in the network namespace
// of the calling thread (`ip neighbour show dev`).
func Neighbours(ifname string) ([]Neighbour, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("list the neighbours at %s: %w", ifname, err)
	}
	found, err := handle.NeighList(iface.Index, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list the neighbours at %s: %w", ifname, err)
	}
	var all []Neighbour
	for _, n := range found {
		addr, ok := netip.AddrFromSlice(n.IP)
		if ok && len(n.HardwareAddr) == 6 && n.State&(unix.NUD_FAILED|unix.NUD_NOARP) == 0 {
			all = append(all, Neighbour{addr.Unmap(), n.HardwareAddr})
		}
	}
	return all, nil
}
