package link

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// GiveAddress gives the interface that has an address one more, in the network
// namespace of the calling thread: call it inside netns.Do. It is never what the
// interface's own traffic comes from: where the subnet is one that the interface
// is on already it brings no second route to it, and an IPv6 one is deprecated
// from the start (RFC 4862), which keeps it from being chosen as a source and
// refuses nobody. Given reports whether it was not there. The error is
// ErrNotFound where no interface that is up has the first address.
func GiveAddress(beside netip.Addr, more netip.Prefix) (given bool, err error) {
	name, err := Holder(beside)
	if err != nil {
		return false, err
	}
	err = onLink(name, func(handle *netlink.Handle, l netlink.Link) error {
		has, err := handle.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: ipNet(more), ValidLft: math.MaxUint32, PreferedLft: math.MaxUint32}
		for _, h := range has {
			p := prefixOf(h)
			if p.Addr() == more.Addr() {
				return nil
			}
			if p.Masked() == more.Masked() {
				addr.Flags |= unix.IFA_F_NOPREFIXROUTE
			}
		}
		if more.Addr().Is6() {
			addr.Flags |= unix.IFA_F_NODAD
			addr.PreferedLft = 0
		}
		given = true
		return handle.AddrAdd(l, addr)
	})
	if err != nil {
		return false, fmt.Errorf("give %s to %s: %w", more, name, err)
	}
	return given, nil
}

// TakeAddress takes an address from whichever interface has it, up or down, in
// the network namespace of the calling thread. One that nobody has is taken.
func TakeAddress(addr netip.Addr) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("take address %s away: %w", addr, err)
	}
	defer handle.Close()
	has, err := handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("take address %s away: %w", addr, err)
	}
	for _, h := range has {
		if prefixOf(h).Addr() != addr {
			continue
		}
		l, err := handle.LinkByIndex(h.LinkIndex)
		if err == nil {
			err = handle.AddrDel(l, &netlink.Addr{IPNet: h.IPNet})
		}
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.As(err, &netlink.LinkNotFoundError{}) {
			return fmt.Errorf("take address %s away: %w", addr, err)
		}
	}
	return nil
}

// onLink does something with a link of the calling thread's namespace.
func onLink(name string, do func(*netlink.Handle, netlink.Link) error) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	l, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	return do(handle, l)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
