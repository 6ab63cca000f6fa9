package mirror

import (
	"net/netip"
	"testing"
	"time"
)

// BenchmarkChoose is the search alone, in a /64 with many scattered leases.
func BenchmarkChoose(b *testing.B) {
	m := New("default", netip.MustParsePrefix("fd00::/64"), time.Now)
	addr := m.Subnet.Addr()
	var leased []netip.Addr
	for range 100_000 {
		addr = addr.Next().Next()
		leased = append(leased, addr)
	}
	m.taken.Fill(leased)
	for b.Loop() {
		if _, ok := m.Choose([]netip.Prefix{m.Subnet}, addr, nil); !ok {
			b.Fatal("nothing is free")
		}
	}
}
