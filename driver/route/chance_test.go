package route_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/driver/route"
	"gvlan/driver/route/routetest"
)

// TestAlike: whatever two callers want, one after the other, and whatever others make
// in between, the real Kernel and the one in memory have and refuse the same.
func TestAlike(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 16))
		memory, real := routetest.New(func() []string { return []string{"shim", "card"} }), newWorld(t)
		both := func(f func(subject) error) {
			t.Helper()
			var to [2][]netip.Prefix
			for i, k := range []subject{memory, real} {
				err := f(k)
				for _, one := range route.Each(err) {
					var refused *route.Refused
					if !errors.As(one, &refused) {
						t.Fatalf("seed %d: %v", seed, one)
					}
					to[i] = append(to[i], refused.To)
				}
			}
			if diff := cmp.Diff(to[0], to[1], cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Fatalf("seed %d: refused (-memory +kernel):\n%s", seed, diff)
			}
			want, err := memory.Ours(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			has(t, real, want)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		var had [2]route.State
		reaches := []func(string) bool{byShim, func(link string) bool { return link != "shim" }}
		var forget []func()
		for range 60 {
			if random.IntN(8) == 0 {
				for _, f := range forget {
					f()
				}
				forget = nil
			}
			ours, err := memory.Ours(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// What they make beside ours, and the kernel does not take, is seen later.
			other := route.Route{Dst: netip.MustParsePrefix(destinations[random.IntN(len(destinations))]), Link: "card", Metric: []int{0, 50, 2000}[random.IntN(3)]}
			if len(forget) == 0 && !slices.ContainsFunc(ours.Routes, func(r route.Route) bool { return r.Dst == other.Dst }) {
				forget = []func(){memory.Other(other), real.Other(other)}
			}
			caller := random.IntN(2)
			want := wants(random, caller)
			switch random.IntN(3) {
			case 0:
				both(func(k subject) error { return k.Set(t.Context(), reaches[caller], want) })
			default:
				both(func(k subject) error { return k.Change(t.Context(), had[caller], want) })
			}
			had[caller] = want
		}
	}
}

var destinations = []string{"203.0.113.0/26", "203.0.113.1/32", "203.0.113.2/32", "2001:db8:1::/122", "2001:db8:1::1/128", "2001:db8:1::2/128"}

// wants is what a caller may want: the first routes by "shim", as host access does, the
// second by hosts on the LAN of "card".
func wants(random *rand.Rand, caller int) (s route.State) {
	for _, dst := range destinations {
		r := route.Route{Dst: netip.MustParsePrefix(dst), Link: "shim"}
		v6 := r.Dst.Addr().Is6()
		if caller == 1 {
			r.Link = "card"
			switch r.Via = netip.MustParseAddr([]string{"192.0.2.9", "192.0.2.10", "192.0.2.11"}[random.IntN(3)]); {
			case random.IntN(4) == 0:
				r = route.Route{Dst: r.Dst, Unreachable: true}
			case v6:
				r.Via = netip.MustParseAddr([]string{"2001:db8::9", "2001:db8::a", "2001:db8::b"}[random.IntN(3)])
			}
		}
		if !r.Unreachable && random.IntN(3) == 0 {
			if r.Src = host4; v6 {
				r.Src = host6
			}
		}
		if random.IntN(5) == 0 {
			r.Table = 77
		}
		if random.IntN(2) == 0 {
			s.Routes = append(s.Routes, r)
		}
	}
	s.Sort()
	return s
}
