package zone

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReverseZones(t *testing.T) {
	for subnet, want := range map[string][]string{
		"10.9.0.0/24":       {"0.9.10.in-addr.arpa."},
		"192.168.32.128/25": {"32.168.192.in-addr.arpa."},
		"10.0.0.0/8":        {"10.in-addr.arpa."},
		"10.8.0.0/22":       {"0.8.10.in-addr.arpa.", "1.8.10.in-addr.arpa.", "2.8.10.in-addr.arpa.", "3.8.10.in-addr.arpa."},
		"172.16.0.0/15":     {"16.172.in-addr.arpa.", "17.172.in-addr.arpa."},
		"fd09::/64":         {"0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa."},
		"fd00::/7":          {"c.f.ip6.arpa.", "d.f.ip6.arpa."},
		"fd09::8/126":       {"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa."},
	} {
		var got []string
		for _, zone := range reverseZones(netip.MustParsePrefix(subnet).Masked()) {
			got = append(got, reverseName(zone))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", subnet, diff)
		}
	}
}

func TestReversePrefix(t *testing.T) {
	for name, want := range map[string]string{
		"7.3.8.10.in-addr.arpa":   "10.8.3.7/32",
		"8.10.in-addr.arpa":       "10.8.0.0/16",
		"007.3.8.10.in-addr.arpa": "", "256.1.1.1.in-addr.arpa": "", "1.2.3.4.5.in-addr.arpa": "", "..in-addr.arpa": "",
		"a.in-addr.arpa": "", "in-addr.arpa": "", "d.f.ip6.arpa": "fd00::/8", "fd.ip6.arpa": "", "d.ff.ip6.arpa": "", "x.ip6.arpa": "",
	} {
		got, ok := reversePrefix([]byte(name))
		if text := got.String(); ok != (want != "") || ok && text != want {
			t.Errorf("%s: got %v %v, want %q", name, got, ok, want)
		}
	}
	for _, addr := range []string{"10.8.3.7", "255.255.255.255", "0.0.0.0", "fd09::10", "::"} {
		a := netip.MustParseAddr(addr)
		name := strings.TrimSuffix(reverseName(netip.PrefixFrom(a, a.BitLen())), ".")
		if got, ok := reversePrefix([]byte(name)); !ok || got.Addr() != a {
			t.Errorf("%s: %s read as %v", addr, name, got)
		}
	}
}
