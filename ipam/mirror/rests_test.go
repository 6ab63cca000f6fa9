package mirror

import (
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
)

// TestRests: an address rests from the moment it becomes free, for the
// cooldown of who asks, and is forgotten when nobody can ask any more.
func TestRests(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := New("default", netip.MustParsePrefix("10.0.0.0/29"), func() time.Time { return now })
	addr := netip.MustParseAddr("10.0.0.1")
	flip := func(taken bool, at store.Revision) { m.Learn(addr, taken, at) }
	resting := func(cooldown time.Duration) bool { return m.Resting(cooldown).Has(addr) }

	flip(true, 1)
	flip(false, 2)
	if resting(time.Hour) {
		t.Error("an address is remembered that nobody asked to")
	}
	m.rest(time.Minute)
	flip(true, 3)
	flip(false, 4)
	if !resting(time.Second) {
		t.Error("an address does not rest that became free just now")
	}
	now = now.Add(10 * time.Second)
	flip(false, 5) // it was free
	if resting(10*time.Second) || !resting(11*time.Second) {
		t.Error("after 10 s it rests for a cooldown of 10 s, or does not for 11 s")
	}
	now = now.Add(50 * time.Second)
	if resting(time.Hour) || len(m.rests.since) != 0 {
		t.Errorf("after the longest cooldown it is remembered: %v", m.rests.since)
	}
}
