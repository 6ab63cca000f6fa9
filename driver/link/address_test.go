package link_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
)

// TestOneMoreAddress is not what the interface speaks as, and brings no route.
func TestOneMoreAddress(t *testing.T) {
	for _, tt := range []struct{ name, own, more, to string }{
		{"IPv4", "192.0.2.7/24", "192.0.2.50/24", "192.0.2.1"},
		{"IPv6", "2001:db8::7/64", "2001:db8::50/64", "2001:db8::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here, there := newWorld(t), newWorld(t)
			wire(t, here, there)
			own, more, to := netip.MustParsePrefix(tt.own), netip.MustParsePrefix(tt.more), netip.MustParseAddr(tt.to)
			put := &netlink.Addr{IPNet: ipNet(own), Flags: unix.IFA_F_NODAD}
			here.do(t, func() error { return here.handle.AddrAdd(here.link(t, "eth0"), put) })
			for _, want := range []bool{true, false} { // the second time it is there
				var given bool
				here.do(t, func() error {
					return here.ns.Do(func() (err error) { given, err = link.GiveAddress(own.Addr(), more); return err })
				})
				if given != want {
					t.Errorf("given %v, want %v", given, want)
				}
			}
			routes, err := here.handle.RouteGet(to.AsSlice())
			if err != nil || len(routes) != 1 {
				t.Fatalf("route to %s: %v, %v", to, routes, err)
			}
			if src, _ := netip.AddrFromSlice(routes[0].Src); src.Unmap() != own.Addr() {
				t.Errorf("speaks as %s, want as %s", src, own.Addr())
			}
			connected := 0
			all, err := here.handle.RouteList(here.link(t, "eth0"), netlink.FAMILY_ALL)
			for _, r := range all {
				if r.Dst != nil && r.Dst.Contains(to.AsSlice()) {
					connected++
				}
			}
			if connected != 1 || err != nil {
				t.Errorf("%d routes lead to the subnet (%v), want one", connected, err)
			}
			for range 2 { // the second time nobody has it
				here.do(t, func() error { return here.ns.Do(func() error { return link.TakeAddress(more.Addr()) }) })
			}
			if err := here.ns.Do(func() error { _, err := link.Holder(more.Addr()); return err }); !errors.Is(err, link.ErrNotFound) {
				t.Errorf("who has it afterwards: %v, want nobody", err)
			}
			if err := here.ns.Do(func() error { _, err := link.Holder(own.Addr()); return err }); err != nil {
				t.Errorf("the interface's own address: %v", err)
			}
		})
	}
}

// TestOneMoreAddressOfAnotherSubnet brings the route to it.
func TestOneMoreAddressOfAnotherSubnet(t *testing.T) {
	here, there := newWorld(t), newWorld(t)
	wire(t, here, there)
	own := netip.MustParsePrefix("192.0.2.7/24")
	here.do(t, func() error {
		return here.handle.AddrAdd(here.link(t, "eth0"), &netlink.Addr{IPNet: ipNet(own)})
	})
	here.do(t, func() error {
		return here.ns.Do(func() error {
			_, err := link.GiveAddress(own.Addr(), netip.MustParsePrefix("198.51.100.5/24"))
			return err
		})
	})
	to := netip.MustParseAddr("198.51.100.9")
	if routes, err := here.handle.RouteGet(to.AsSlice()); err != nil || len(routes) != 1 || routes[0].Gw != nil {
		t.Errorf("route to %s: %v, %v, want the interface's own", to, routes, err)
	}
	err := here.ns.Do(func() error {
		_, err := link.GiveAddress(netip.MustParseAddr("192.0.2.99"), netip.MustParsePrefix("192.0.2.50/24"))
		return err
	})
	if !errors.Is(err, link.ErrNotFound) {
		t.Errorf("beside an address that nobody has: %v, want %v", err, link.ErrNotFound)
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
