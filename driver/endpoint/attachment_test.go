package endpoint

import (
	"net/netip"
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
