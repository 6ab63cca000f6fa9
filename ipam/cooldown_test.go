package ipam

import (
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
)

func TestParseCooldown(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "1h": time.Hour, "0": 0} {
		if got, err := ParseCooldown(text); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "30", "-1s", "61m", "soon"} {
		if got, err := ParseCooldown(text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}

// TestRests: an address rests from the moment it becomes free, for the
// cooldown of who asks, and is forgotten when nobody can ask any more.
func TestRests(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := newMirror("default", mustPrefix("10.0.0.0/29"), func() time.Time { return now })
	addr := netip.MustParseAddr("10.0.0.1")
	flip := func(taken bool, at store.Revision) { m.learn(addr, taken, at) }
	resting := func(cooldown time.Duration) bool { return m.resting(cooldown).contains(numberOf(addr)) }

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

// TestCooldown: on every host an address that a container just left is the
// last to be given, and is given all the same where nothing else is free.
func TestCooldown(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		one := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.4/30"}}).define("lan")
		two := c.host("h2").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.4/30"}})
		two.def = one.def
		two.def.Overrides.Cooldown = "1h"
		for _, n := range []*lan{one, two} {
			n.h.must(n.h.Adopt(n.id, two.def, 0))
			n.h.ready()
			for n.h.mirrors.of(DefaultSegment, mustPrefix("10.0.0.0/24")).longest() != time.Hour {
				if !store.Sleep(c.Context(), time.Millisecond) {
					c.Fatal("the mirror never hears of the cooldown")
				}
			}
		}
		one.mustRun("a", "").stop()
		if b := one.mustRun("b", ""); b.ip() != "10.0.0.5" {
			c.Errorf("on the host that let go b has %s, want 10.0.0.5: .4 rests", b.ip())
		}
		seen := two.h.mirrors.of(DefaultSegment, mustPrefix("10.0.0.0/24"))
		for !seen.resting(time.Hour).contains(numberOf(netip.MustParseAddr("10.0.0.4"))) || !seen.hasTaken(numberOf(netip.MustParseAddr("10.0.0.5"))) {
			if !store.Sleep(c.Context(), time.Millisecond) {
				c.Fatal("the other host never hears that .4 is free and .5 taken")
			}
		}
		if x := two.mustRun("x", ""); x.ip() != "10.0.0.6" {
			c.Errorf("on the other host x has %s, want 10.0.0.6", x.ip())
		}
		for _, want := range []string{"10.0.0.7", "10.0.0.4"} {
			if x := two.mustRun("x", ""); x.ip() != want {
				c.Errorf("x has %s, want %s", x.ip(), want)
			}
		}
	})
}

// longest is how long what becomes free is remembered.
func (m *mirror) longest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rests.keep
}

// hasTaken tells whether the mirror heard that an address is taken.
func (m *mirror) hasTaken(addr number) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken.contains(addr)
}
