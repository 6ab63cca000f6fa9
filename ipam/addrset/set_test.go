package addrset

import (
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// near draws numbers around the places where arithmetic breaks: zero, the
// 64-bit carry and the highest number.
func near(t *rapid.T, name string) number {
	base := rapid.SampledFrom([]number{{}, {lo: ^uint64(0) - 20}, {hi: 7}, {hi: ^uint64(0), lo: ^uint64(0) - 40}}).Draw(t, name+"-base")
	n := base
	for range rapid.IntRange(0, 40).Draw(t, name) {
		n = n.next()
	}
	return n
}

// universe is every number near draws, for the naive model.
func universe() []number {
	var all []number
	for _, n := range []number{{}, {lo: ^uint64(0) - 20}, {hi: 7}, {hi: ^uint64(0), lo: ^uint64(0) - 40}} {
		for range 41 {
			all = append(all, n)
			n = n.next()
		}
	}
	return all
}

func TestIntervalsAreASet(t *testing.T) {
	all := universe()
	rapid.Check(t, func(t *rapid.T) {
		var set Set
		model := map[number]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			a, b := near(t, "a"), near(t, "b")
			if b.less(a) {
				a, b = b, a
			}
			put := rapid.Bool().Draw(t, "put")
			switch {
			case put:
				set.Add(Interval{a, b})
			case rapid.Bool().Draw(t, "as a set"):
				set.Subtract(&Set{spans: []Interval{{a, b}}})
			default:
				set.Remove(Interval{a, b})
			}
			for _, n := range all {
				if !n.less(a) && !b.less(n) {
					model[n] = put
				}
			}
			checkSet(t, &set, model, all)
		}
	})
}

func checkSet(t *rapid.T, set *Set, model map[number]bool, all []number) {
	t.Helper()
	for _, n := range all {
		if got := set.contains(n); got != model[n] {
			t.Fatalf("contains(%v) = %v, want %v", n, got, model[n])
		}
		if free, ok := set.nextFree(n); !model[n] && (!ok || free != n) {
			t.Fatalf("nextFree(%v) = %v %v, want itself", n, free, ok)
		} else if ok && (free.less(n) || set.contains(free)) {
			t.Fatalf("nextFree(%v) = %v, which is not free", n, free)
		}
	}
	for i := 1; i < len(set.spans); i++ {
		if before, s := set.spans[i-1], set.spans[i]; !before.last.next().less(s.first) || s.last.less(s.first) {
			t.Fatalf("spans %v and %v overlap, touch or are out of order", before, s)
		}
	}
}

// TestMembersInOrder: what is next, and how many there are, beside a walk.
func TestMembersInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := walkFrom(netip.MustParseAddr("10.1.2.240"), 64)
		one := func(what string) netip.Addr { return rapid.SampledFrom(all).Draw(t, what) }
		var set Set
		set.Add(Of(netip.MustParsePrefix("fd00::/64")))
		in := map[netip.Addr]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "members") {
			addr := one("member")
			in[addr] = true
			set.Add(Single(addr))
		}
		first, last := one("first"), one("last")
		next, count := netip.MustParseAddr("fd00::"), uint64(0)
		for _, addr := range slices.Backward(all) {
			if in[addr] && !addr.Less(first) {
				next = addr
				if !last.Less(addr) {
					count++
				}
			}
		}
		if got, ok := set.Next(first); !ok || got != next {
			t.Fatalf("Next(%s) = %s %v, want %s", first, got, ok, next)
		}
		if got := set.Count(Between(first, last)); !last.Less(first) && got != count {
			t.Fatalf("Count(%s-%s) = %d, want %d", first, last, got, count)
		}
	})
	var set Set
	if got, ok := set.Next(netip.MustParseAddr("10.0.0.0")); ok {
		t.Errorf("the empty set has %s", got)
	}
	set.Add(Of(netip.MustParsePrefix("fd00::/64")))
	for within, want := range map[string]uint64{"fd00::/65": 1 << 63, "fd00::/64": math.MaxUint64, "fc00::/7": math.MaxUint64, "fe00::/7": 0} {
		if got := set.Count(Of(netip.MustParsePrefix(within))); got != want {
			t.Errorf("%d of %s are in fd00::/64, want %d", got, within, want)
		}
	}
}

func TestFillIsAddingEach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var addrs []netip.Addr
		var added, filled Set
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			n := near(t, "n")
			addrs = append(addrs, n.addr())
			added.Add(Interval{n, n})
		}
		filled.Fill(addrs)
		if len(added.spans) != len(filled.spans) {
			t.Fatalf("fill = %v, want %v", filled.spans, added.spans)
		}
		for i := range added.spans {
			if added.spans[i] != filled.spans[i] {
				t.Fatalf("fill = %v, want %v", filled.spans, added.spans)
			}
		}
	})
}

// TestSearchAgainstAWalk compares Search with walking over every address.
func TestSearchAgainstAWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(24, 32).Draw(t, "bits")
		within := netip.PrefixFrom(netip.MustParseAddr("10.1.2.0"), bits)
		var all []netip.Addr
		for addr := within.Addr(); within.Contains(addr); addr = addr.Next() {
			all = append(all, addr)
		}
		one := func(what string) netip.Addr { return rapid.SampledFrom(all).Draw(t, what) }
		x, taken := NewIndex(within), map[netip.Addr]bool{}
		for range rapid.IntRange(0, len(all)).Draw(t, "indexed") {
			addr := one("taken")
			taken[addr] = true
			x.Add(addr)
		}
		sets := make([]*Set, rapid.IntRange(0, 3).Draw(t, "sets"))
		for i := range sets {
			sets[i] = &Set{}
			for range rapid.IntRange(0, 20).Draw(t, "spans") {
				first := one("first")
				last := first
				for range rapid.IntRange(0, 60).Draw(t, "length") {
					last = last.Next()
				}
				sets[i].Add(Between(first, last))
			}
		}
		from, last := one("from"), one("last")
		var want netip.Addr
		for _, addr := range all {
			in := taken[addr] || addr.Less(from) || last.Less(addr)
			for _, s := range sets {
				in = in || s.Has(addr)
			}
			if !in {
				want = addr
				break
			}
		}
		if got, ok := x.Search(from, last, sets); ok != want.IsValid() || got != want {
			t.Fatalf("Search from %s to %s = %s %v, want %s", from, last, got, ok, want)
		}
	})
}

func TestSearchInLargeSubnets(t *testing.T) {
	for _, c := range []struct{ name, within, taken, want string }{
		{"v6 /64", "fd00::/64", "fd00::/65", "fd00:0:0:0:8000::"},
		{"v6 /56 over the carry", "fd00::/56", "fd00::/64", "fd00:0:0:1::"},
		{"v4 /8", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0"},
		{"v6 /128", "fd00::5/128", "fd01::/64", "fd00::5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var taken Set
			taken.Add(Of(netip.MustParsePrefix(c.taken)))
			within := netip.MustParsePrefix(c.within)
			got, ok := NewIndex(within).Search(within.Addr(), Of(within).Last(), []*Set{&taken})
			if want := netip.MustParseAddr(c.want); !ok || got != want {
				t.Errorf("Search = %s %v, want %s", got, ok, want)
			}
		})
	}
}

func TestIntervalsForPeople(t *testing.T) {
	for _, test := range []struct {
		first, last string
		size        float64
		want        string
	}{
		{"10.0.0.1", "10.0.0.1", 1, "10.0.0.1"},
		{"10.0.0.0", "10.0.0.255", 256, "10.0.0.0/24"},
		{"10.0.0.1", "10.0.0.2", 2, "10.0.0.1-10.0.0.2"},
		{"10.0.0.2", "10.0.0.3", 2, "10.0.0.2/31"},
		{"fd00::", "fd00::ffff:ffff:ffff:ffff", 1 << 64, "fd00::/64"},
		{"fd00::1", "fd00::2", 2, "fd00::1-fd00::2"},
		{"0.0.0.0", "255.255.255.255", 1 << 32, "0.0.0.0/0"},
	} {
		run := Between(netip.MustParseAddr(test.first), netip.MustParseAddr(test.last))
		if run.Size() != test.size || run.String() != test.want {
			t.Errorf("%s to %s: %v addresses, %s; want %v, %s", test.first, test.last, run.Size(), run, test.size, test.want)
		}
	}
}
