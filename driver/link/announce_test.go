package link_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
)

// The other end's kernel is the judge: it takes an announcement into its
// neighbor table only when every field and checksum is right.
func TestAnnounceReplacesNeighbor(t *testing.T) {
	for _, tt := range []struct{ name, addr string }{
		{"IPv4 by ARP", "192.0.2.7"},
		{"IPv6 by neighbor advertisement", "2001:db8::7"},
		{"IPv4 in IPv6 form", "::ffff:192.0.2.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here, there := newWorld(t), newWorld(t)
			sender, receiver := wire(t, here, there)
			addr := netip.MustParseAddr(tt.addr)
			old := net.HardwareAddr{2, 0, 0, 0, 0, 99}
			there.remember(t, receiver.Index, addr, old)

			got := old
			// Once is enough but for the kernel's locktime, in whose tick it believes nobody.
			for got.String() == old.String() {
				here.do(t, func() error {
					return here.ns.Do(func() error { return link.Announce("eth0", addr) })
				})
				got = there.neighbor(t, receiver.Index, addr)
			}
			if diff := cmp.Diff(sender.HardwareAddr.String(), got.String()); diff != "" {
				t.Errorf("MAC the neighbor knows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnnounceErrors(t *testing.T) {
	here, there := newWorld(t), newWorld(t)
	wire(t, here, there)
	addr := netip.MustParseAddr("192.0.2.7")
	err := here.ns.Do(func() error { return link.Announce("none", addr) })
	if err == nil {
		t.Error("Announce on a missing interface = nil")
	}
	here.setDown(t, "eth0")
	err = here.ns.Do(func() error { return link.Announce("eth0", addr) })
	if !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("Announce on an interface that is down = %v, want %v", err, unix.ENETDOWN)
	}
	here.do(t, func() error { return here.handle.LinkSetARPOff(here.link(t, "eth0")) })
	if err := here.ns.Do(func() error { return link.Announce("eth0", addr) }); err != nil {
		t.Errorf("Announce on an interface without ARP = %v, want nil and nothing sent", err)
	}
}

// wire joins two worlds by a veth pair, eth0 in each, both up.
func wire(t *testing.T, a, b world) (*netlink.LinkAttrs, *netlink.LinkAttrs) {
	t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(b.ns.Fd())}
	pair.Name = "eth0"
	a.do(t, func() error { return a.handle.LinkAdd(pair) })
	for _, w := range []world{a, b} {
		w.do(t, func() error { return w.handle.LinkSetUp(w.link(t, "eth0")) })
	}
	// Until the kernel has seen the carrier it drops what is sent.
	for a.link(t, "eth0").Attrs().OperState != netlink.OperUp || b.link(t, "eth0").Attrs().OperState != netlink.OperUp {
		runtime.Gosched()
	}
	return a.link(t, "eth0").Attrs(), b.link(t, "eth0").Attrs()
}

// remember puts a neighbor into the table. The address needs a route for the
// kernel to take news of it.
func (w world) remember(t *testing.T, index int, addr netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	addr = addr.Unmap()
	// For a locktime, by default of one second, the kernel sticks to what it has.
	w.do(t, func() error {
		return w.ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/locktime", []byte("0"), 0) })
	})
	w.do(t, func() error {
		return w.handle.RouteAdd(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: netlink.NewIPNet(addr.AsSlice())})
	})
	w.do(t, func() error {
		return w.handle.NeighSet(&netlink.Neigh{LinkIndex: index, IP: addr.AsSlice(), HardwareAddr: mac, State: netlink.NUD_STALE})
	})
}

// neighbor gives the MAC that the table has for addr.
func (w world) neighbor(t *testing.T, index int, addr netip.Addr) net.HardwareAddr {
	t.Helper()
	neighbors, err := w.handle.NeighList(index, 0)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Fatal(err)
	}
	for _, n := range neighbors {
		if ip, _ := netip.AddrFromSlice(n.IP); ip.Unmap() == addr.Unmap() {
			return n.HardwareAddr
		}
	}
	t.Fatalf("%s is gone from the neighbor table", addr)
	return nil
}
