package link_test

import (
	"net"
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"gvlan/driver/link"
)

func TestInterfaces(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	w.card(t, "eth1")
	w.setDown(t, "x-eth1")
	w.do(t, func() error { return w.handle.LinkAddAltName(w.link(t, "eth0"), "enp0s31f6-a-long-alternative-name") })
	w.do(t, func() error { return w.handle.LinkSetMTU(w.link(t, "eth1"), 9000) })
	for name, prefix := range map[string]string{"eth0": "192.0.2.7/24", "eth1": "2001:db8::7/64"} {
		address, err := netlink.ParseAddr(prefix)
		if err != nil {
			t.Fatal(err)
		}
		w.do(t, func() error { return w.handle.AddrAdd(w.link(t, name), address) })
	}
	w.defaultRoute(t, "eth0", "192.0.2.1", 100)
	w.defaultRoute(t, "eth1", "", 50)
	w.do(t, func() error { return w.handle.LinkSetDown(w.link(t, "x-eth0")) })

	w.SetSys(fstest.MapFS{"class/net/eth1/phy80211/name": {}})

	got, err := w.Interfaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []link.Interface{
		{Name: "lo", Kind: "device", MTU: 65536, Loopback: true},
		{Name: "x-eth0", Kind: "veth", MTU: 1500},
		{Name: "eth0", AltNames: []string{"enp0s31f6-a-long-alternative-name"}, Kind: "veth", MTU: 1500, Up: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}},
		{Name: "x-eth1", Kind: "veth", MTU: 1500},
		{Name: "eth1", Kind: "veth", MTU: 9000, Up: true, Wireless: true, DefaultRoute: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::7/64")}},
	}
	linkLocal := cmpopts.AcyclicTransformer("global", func(all []netip.Prefix) []netip.Prefix {
		var kept []netip.Prefix
		for _, p := range all {
			if !p.Addr().IsLinkLocalUnicast() {
				kept = append(kept, p)
			}
		}
		return kept
	})
	for _, i := range got {
		if mac, err := net.ParseMAC(i.MAC); !i.Loopback && (err != nil || len(mac) != 6) {
			t.Errorf("%s has MAC address %q", i.Name, i.MAC)
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(link.Interface{}, "Index", "MAC"), linkLocal, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

// defaultRoute adds an IPv4 default route; without a gateway, by device.
func (w world) defaultRoute(t *testing.T, name, gateway string, metric int) {
	t.Helper()
	route := &netlink.Route{LinkIndex: w.link(t, name).Attrs().Index, Priority: metric, Gw: net.ParseIP(gateway), Scope: netlink.SCOPE_UNIVERSE}
	if gateway == "" {
		route.Gw, route.Scope = nil, netlink.SCOPE_LINK
	}
	_, route.Dst, _ = net.ParseCIDR("0.0.0.0/0")
	w.do(t, func() error { return w.handle.RouteAdd(route) })
}
