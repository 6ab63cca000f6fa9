package pool

import (
	"fmt"
	"net/netip"
	"strings"

	"gvlan/ipam/addrset"
)

// unusable are the subnets no container can have an address of. Link-local
// ones are good: Docker's own tests use fe90::/64.
var unusable = []struct {
	within netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "reserved"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("224.0.0.0/3"), "multicast or reserved"},
	{netip.MustParsePrefix("::/32"), "reserved"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// ParseSubnet reads --subnet. Host bits are masked away: engines before 25
// send them as the user wrote them.
func ParseSubnet(s string) (netip.Prefix, error) {
	subnet, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("--subnet %q is not a subnet: write it like 192.168.1.0/24 or fd00:1::/64", s)
	}
	subnet = subnet.Masked()
	return subnet, checkSubnet(subnet)
}

func checkSubnet(subnet netip.Prefix) error {
	if subnet.Bits() == 0 {
		return fmt.Errorf("--subnet %s is every address there is: give the LAN's own subnet", subnet)
	}
	for _, u := range unusable {
		if u.within.Overlaps(subnet) {
			return fmt.Errorf("--subnet %s overlaps %s, which is %s: give the LAN's own subnet", subnet, u.within, u.what)
		}
	}
	return nil
}

// ParseRange reads --ip-range of a subnet; "" is no range.
func ParseRange(s string, subnet netip.Prefix) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	within, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("--ip-range %q is not a range: write it like %s", s, subnet)
	}
	within = within.Masked()
	return within, CheckRange(within, subnet)
}

// CheckRange refuses a range that is not inside its subnet.
func CheckRange(within, subnet netip.Prefix) error {
	if !subnet.Contains(within.Addr()) || within.Bits() < subnet.Bits() {
		return fmt.Errorf("--ip-range %s is not inside --subnet %s", within, subnet)
	}
	return nil
}

// ParseAddress reads an address that was asked for in a subnet and says in
// one sentence why a host cannot have it.
func ParseAddress(s string, subnet netip.Prefix) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an address: write it like %s", s, FirstUsable(subnet))
	}
	addr = addr.Unmap()
	if !subnet.Contains(addr) {
		return netip.Addr{}, fmt.Errorf("address %s is not inside subnet %s", addr, subnet)
	}
	if what := UnusableIn(subnet, addr); what != "" {
		return netip.Addr{}, fmt.Errorf("address %s is the %s of subnet %s: give another one", addr, what, subnet)
	}
	return addr, nil
}

// UnusableIn says what an address of a subnet is when it is not a host's:
// the network and the broadcast address in IPv4 up to /30 (RFC 3021 frees
// both in a /31), the subnet-router anycast address in IPv6 up to /126
// (RFC 4291 2.6.1; RFC 6164 frees it in a /127). Else "".
func UnusableIn(subnet netip.Prefix, addr netip.Addr) string {
	if subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return ""
	}
	switch {
	case addr == subnet.Addr() && addr.Is4():
		return "network address"
	case addr == subnet.Addr():
		return "subnet-router anycast address"
	case addr.Is4() && addr == LastOf(subnet):
		return "broadcast address"
	}
	return ""
}

// FirstUsable is the lowest address a host can have in a subnet.
func FirstUsable(subnet netip.Prefix) netip.Addr {
	first := subnet.Addr()
	if UnusableIn(subnet, first) != "" {
		return first.Next()
	}
	return first
}

// LastOf is the highest address of a subnet.
func LastOf(subnet netip.Prefix) netip.Addr { return addrset.Of(subnet).Last() }

// checkSegment takes what can stand in a key and in a PoolID.
func checkSegment(s string) error {
	const good = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	if s == "" || len(s) > 63 || strings.Trim(s, good) != "" || strings.ContainsAny(s[:1], "._-") {
		return fmt.Errorf("segment=%s is not a segment name: give up to 63 of a-z, 0-9, '.', '_' and '-', a letter or digit first", s)
	}
	return nil
}
