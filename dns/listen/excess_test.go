package listen

import (
	"net/netip"
	"testing"
	"time"
)

func TestExcess(t *testing.T) {
	now := time.Unix(1, 0)
	e := newExcess(func() time.Time { return now })
	count := func(clients func(i int) netip.Addr, questions int) (whole int) {
		for i := range questions {
			if e.allows(clients(i), 51, 1219) {
				whole++
			}
		}
		return whole
	}
	one := func(addr string) func(int) netip.Addr {
		return func(int) netip.Addr { return netip.MustParseAddr(addr) }
	}
	const burst = excessClient / (1219 - 51)
	if got := count(one("10.9.0.1"), 1000); got != burst {
		t.Errorf("one client got %d large answers at once, want %d", got, burst)
	}
	if got := count(one("10.9.0.2"), 10); got != 10 {
		t.Errorf("another got %d of 10", got)
	}
	if !e.allows(netip.MustParseAddr("10.9.0.1"), 51, 51) {
		t.Error("an answer as long as its question was kept back")
	}
	now = now.Add(time.Second / 2)
	if got := count(one("10.9.0.1"), 1000); got != burst/2 {
		t.Errorf("after half a second: %d, want %d", got, burst/2)
	}
	now = now.Add(time.Hour)
	all := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 1, byte(i)}) }
	if got, most := count(all, 10_000), excessPrefix/(1219-51); got > most || got < most/2 {
		t.Errorf("a whole prefix got %d, want at most %d", got, most)
	}
	if got := count(func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0xfd, 7: 9, 14: byte(i >> 8), 15: byte(i)})
	}, 10_000); got > excessPrefix/(1219-51) {
		t.Errorf("a whole IPv6 prefix got %d", got)
	}
}
