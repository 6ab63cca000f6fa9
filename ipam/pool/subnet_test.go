package pool

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseSubnet(t *testing.T) {
	for _, c := range []struct{ name, in, want, err string }{
		{name: "plain", in: "192.168.1.0/24", want: "192.168.1.0/24"},
		{name: "host bits are masked", in: "192.168.1.77/24", want: "192.168.1.0/24"},
		{name: "v6", in: "fd00:1::5/64", want: "fd00:1::/64"},
		{name: "link-local v6 is good", in: "fe90::/64", want: "fe90::/64"},
		{name: "one address", in: "10.0.0.5/32", want: "10.0.0.5/32"},
		{name: "no length", in: "10.0.0.0", err: "write it like"},
		{name: "words", in: "lan", err: "write it like"},
		{name: "everything", in: "0.0.0.0/0", err: "every address there is"},
		{name: "loopback", in: "127.1.0.0/16", err: "loopback"},
		{name: "multicast", in: "224.0.1.0/24", err: "multicast"},
		{name: "contains loopback", in: "64.0.0.0/2", err: "loopback"},
		{name: "v6 multicast", in: "ff02::/64", err: "multicast"},
		{name: "v4 in v6", in: "::ffff:10.0.0.0/104", err: "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseSubnet(c.in)
			checkErr(t, err, c.err)
			if c.err == "" && got.String() != c.want {
				t.Errorf("parseSubnet(%q) = %s, want %s", c.in, got, c.want)
			}
		})
	}
}

func TestParseRange(t *testing.T) {
	subnet := netip.MustParsePrefix("192.168.32.0/24")
	for _, c := range []struct{ name, in, want, err string }{
		{name: "half", in: "192.168.32.128/25", want: "192.168.32.128/25"},
		{name: "host bits are masked", in: "192.168.32.200/25", want: "192.168.32.128/25"},
		{name: "all of it", in: "192.168.32.0/24", want: "192.168.32.0/24"},
		{name: "wider", in: "192.168.0.0/16", err: "not inside"},
		{name: "elsewhere", in: "10.0.0.0/28", err: "not inside"},
		{name: "other family", in: "fd00::/64", err: "not inside"},
		{name: "words", in: "upper half", err: "is not a range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseRange(c.in, subnet)
			checkErr(t, err, c.err)
			if c.err == "" && got.String() != c.want {
				t.Errorf("parseRange(%q) = %s, want %s", c.in, got, c.want)
			}
		})
	}
}

func TestWhatAHostCanHave(t *testing.T) {
	for _, c := range []struct{ name, subnet, first, unusable string }{
		{"v4 /24", "10.0.0.0/24", "10.0.0.1", "10.0.0.0 10.0.0.255"},
		{"v4 /30", "10.0.0.0/30", "10.0.0.1", "10.0.0.0 10.0.0.3"},
		{"v4 /31", "10.0.0.4/31", "10.0.0.4", ""},
		{"v4 /32", "10.0.0.4/32", "10.0.0.4", ""},
		{"v6 /64", "fd00::/64", "fd00::1", "fd00::"},
		{"v6 /127", "fd00::4/127", "fd00::4", ""},
		{"v6 /128", "fd00::4/128", "fd00::4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			subnet := netip.MustParsePrefix(c.subnet)
			if got := FirstUsable(subnet).String(); got != c.first {
				t.Errorf("firstUsable = %s, want %s", got, c.first)
			}
			for _, addr := range []netip.Addr{subnet.Addr(), LastOf(subnet)} {
				want := strings.Contains(" "+c.unusable+" ", " "+addr.String()+" ")
				if got := UnusableIn(subnet, addr) != ""; got != want {
					t.Errorf("%s is unusable: %v, want %v", addr, got, want)
				}
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	for _, c := range []struct{ name, in, err string }{
		{"good", "10.0.0.9", ""},
		{"mapped", "::ffff:10.0.0.9", ""},
		{"words", "nine", "is not an address"},
		{"outside", "10.0.1.9", "not inside subnet 10.0.0.0/24"},
		{"network", "10.0.0.0", "network address"},
		{"broadcast", "10.0.0.255", "broadcast address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseAddress(c.in, subnet)
			checkErr(t, err, c.err)
		})
	}
}

// checkErr wants an error with that text in it, or none for "".
func checkErr(t testing.TB, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("error %q, want none", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want one with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q, want one with %q", err, want)
	}
}
