package ipam

import (
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

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
			for n.h.Mirrors.Of(pool.DefaultSegment, mustPrefix("10.0.0.0/24")).Longest() != time.Hour {
				if !store.Sleep(c.Context(), time.Millisecond) {
					c.Fatal("the mirror never hears of the cooldown")
				}
			}
		}
		one.mustRun("a", "").stop()
		if b := one.mustRun("b", ""); b.ip() != "10.0.0.5" {
			c.Errorf("on the host that let go b has %s, want 10.0.0.5: .4 rests", b.ip())
		}
		seen := two.h.Mirrors.Of(pool.DefaultSegment, mustPrefix("10.0.0.0/24"))
		for !seen.Resting(time.Hour).Has(netip.MustParseAddr("10.0.0.4")) || !seen.Has(netip.MustParseAddr("10.0.0.5")) {
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
