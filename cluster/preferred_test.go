package cluster

import (
	"net"
	"net/netip"
	"testing"
)

func TestPreferredAddress(t *testing.T) {
	nets := func(all ...string) (addrs []net.Addr) {
		for _, s := range all {
			ip, n, err := net.ParseCIDR(s)
			if err != nil {
				t.Fatal(err)
			}
			addrs = append(addrs, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return addrs
	}
	tests := []struct {
		name  string
		addrs []net.Addr
		want  netip.Addr
	}{
		{"none", nil, netip.Addr{}},
		{"link-local only", nets("169.254.1.1/16", "fe80::1/64"), netip.Addr{}},
		{"IPv4 before IPv6", nets("fe80::1/64", "2001:db8::1/64", "192.0.2.1/24", "192.0.2.2/24"), netip.MustParseAddr("192.0.2.1")},
		{"IPv6 alone", nets("fe80::1/64", "2001:db8::1/64"), netip.MustParseAddr("2001:db8::1")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := preferred(test.addrs); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
