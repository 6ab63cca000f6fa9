package mirror

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// TestWearIsBounded: of a subnet that nobody ever uses up, which addresses were
// given back is remembered of the last ones only.
func TestWearIsBounded(t *testing.T) {
	subnet := netip.MustParsePrefix("2001:db8::/64")
	m := New("s", subnet, rand.NewPCG(1, 2))
	m.Begin(0)
	m.Apply(store.Change{Reset: true, Revision: 1})
	seen := map[netip.Addr]bool{}
	rev := store.Revision(1)
	for range wearKept + 1000 {
		addr, ok := m.Choose(Want{Ranges: []netip.Prefix{subnet}, Order: pool.Aged}, false)
		if !ok || seen[addr] {
			t.Fatalf("%s, %v was given before", addr, ok)
		}
		seen[addr] = true
		m.Learn(addr, Taken, rev+1)
		rev += 2
		m.Learn(addr, Free, rev)
		m.Apply(store.Change{Revision: rev})
	}
	if n := len(m.wear.freed.since); n > wearKept || m.wear.worn.Len() != n {
		t.Errorf("%d addresses are remembered, %d of them as given back; want %d at most", n, m.wear.worn.Len(), wearKept)
	}
	if n := len(m.wear.freed.queue); n > 2*wearKept+100 {
		t.Errorf("%d entries are queued", n)
	}
}
