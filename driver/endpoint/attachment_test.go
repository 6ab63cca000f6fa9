package endpoint

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/plugin"
)

// TestAttachment: what a container is told of the ways out of its network.
func TestAttachment(t *testing.T) {
	pools := []store.Pool{
		{Subnet: netip.MustParsePrefix("192.168.214.0/24"), Gateway: netip.MustParseAddr("192.168.214.1")},
		{Subnet: netip.MustParsePrefix("10.1.214.0/24"), Gateway: netip.MustParseAddr("10.1.214.254")},
		{Subnet: netip.MustParsePrefix("fd18::/64"), Gateway: netip.MustParseAddr("fd18::fe")},
	}
	e := journal.Endpoint{Link: "gv1", IPv4: netip.MustParsePrefix("10.1.214.10/24"), IPv6: netip.MustParsePrefix("fd18::10/64")}
	l2 := option.Options{Parent: "eth0", Kind: link.Macvlan, Mode: link.Bridge}
	l3 := option.Options{Parent: "eth0", Kind: link.Ipvlan, Mode: link.L3}
	none := l2
	none.NoGateway = true
	without := func(o option.Options) option.Options { o.Parent = ""; return o }
	tests := []struct {
		name string
		n    journal.Network
		want plugin.Attachment
	}{
		{"L2: the gateway of the address's subnet", journal.Network{Options: l2},
			plugin.Attachment{Gateway4: netip.MustParseAddr("10.1.214.254"), Gateway6: netip.MustParseAddr("fd18::fe")}},
		{"L2 with -o gateway=none: no way out", journal.Network{Options: none}, plugin.Attachment{}},
		{"L2 without a parent: no way out", journal.Network{Options: without(l2)}, plugin.Attachment{}},
		{"L2 internal: no way out", journal.Network{Options: l2, Internal: true}, plugin.Attachment{}},
		{"L3: default routes by device, whatever --gateway says", journal.Network{Options: l3},
			plugin.Attachment{Connected: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}},
		{"L3 without a parent: the other subnet only", journal.Network{Options: without(l3)},
			plugin.Attachment{Connected: []netip.Prefix{netip.MustParsePrefix("192.168.214.0/24")}}},
		{"L3 internal: the other subnet only", journal.Network{Options: l3, Internal: true},
			plugin.Attachment{Connected: []netip.Prefix{netip.MustParsePrefix("192.168.214.0/24")}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.n.Pools, tt.want.Link = pools, "gv1"
			same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			samePrefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
			if diff := cmp.Diff(tt.want, attachment(tt.n, e), same, samePrefix); diff != "" {
				t.Errorf("attachment (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRoutes: an endpoint has those of its network's routes whose router is on
// its own subnet's link.
func TestRoutes(t *testing.T) {
	route := func(to, via string) option.Route {
		r := option.Route{To: netip.MustParsePrefix(to)}
		if via != "" {
			r.Via = netip.MustParseAddr(via)
		}
		return r
	}
	four, other, six := route("10.0.0.0/8", "192.168.1.2"), route("11.0.0.0/8", "192.168.2.2"), route("fd01::/48", "fd00::2")
	direct4, direct6 := route("10.0.0.0/8", ""), route("fd01::/48", "")
	v4, v6 := netip.MustParsePrefix("192.168.1.9/24"), netip.MustParsePrefix("fd00::9/64")
	for _, tt := range []struct {
		name string
		has  []option.Route
		e    journal.Endpoint
		want []option.Route
	}{
		{"dual stack", []option.Route{four, other, six}, journal.Endpoint{IPv4: v4, IPv6: v6}, []option.Route{four, six}},
		{"IPv4 only", []option.Route{four, six}, journal.Endpoint{IPv4: v4}, []option.Route{four}},
		{"IPv6 only", []option.Route{four, six}, journal.Endpoint{IPv6: v6}, []option.Route{six}},
		{"by device", []option.Route{direct4, direct6}, journal.Endpoint{IPv4: v4}, []option.Route{direct4}},
		{"none", nil, journal.Endpoint{IPv4: v4}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := routes(journal.Network{Options: option.Options{Routes: tt.has}}, tt.e)
			if !slices.Equal(got, tt.want) {
				t.Errorf("routes %v, want %v", got, tt.want)
			}
		})
	}
}
