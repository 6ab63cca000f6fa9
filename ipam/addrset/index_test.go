package addrset

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// indexModel is an Index by the simplest means: a map, and a walk over every
// address of a window that the test keeps to.
type indexModel struct {
	within netip.Prefix
	taken  map[netip.Addr]bool
	window []netip.Addr // in order
}

func (m *indexModel) free(first, last netip.Addr) []netip.Addr {
	var free []netip.Addr
	for _, addr := range m.window {
		if m.within.Contains(addr) && !addr.Less(first) && !last.Less(addr) && !m.taken[addr] {
			free = append(free, addr)
		}
	}
	return free
}

// walkFrom returns so many addresses from one on, up to the family's last.
func walkFrom(addr netip.Addr, count int) []netip.Addr {
	var all []netip.Addr
	for ; len(all) < count && addr.IsValid(); addr = addr.Next() {
		all = append(all, addr)
	}
	return all
}

// TestIndexIsASet compares an index with a map while addresses come and go.
func TestIndexIsASet(t *testing.T) {
	for _, c := range []struct {
		name, within, from string
		window             int
	}{
		{"v4 /32", "10.1.2.3/32", "10.1.2.0", 8},
		{"v4 /31", "10.1.2.2/31", "10.1.2.0", 8},
		{"v4 /29", "10.1.2.8/29", "10.1.2.0", 24},
		{"v4 /26", "10.1.2.64/26", "10.1.2.32", 128},
		{"v4 /24", "10.1.2.0/24", "10.1.1.192", 400},
		{"v4 /20", "10.1.16.0/20", "10.1.15.240", 4128},
		{"v4 first", "0.0.0.0/25", "0.0.0.0", 160},
		{"v4 last", "255.255.255.128/25", "255.255.255.100", 160},
		{"v4 /18 over pages", "10.1.64.0/18", "10.1.79.200", 200},
		{"v4 /8 over chapters", "10.0.0.0/8", "10.3.255.200", 200},
		{"v4 /8 end", "10.0.0.0/8", "10.255.255.200", 120},
		{"v4 /7", "10.0.0.0/7", "10.255.255.200", 200},
		{"v4 /0", "0.0.0.0/0", "255.255.255.128", 128},
		{"v6 /128", "fd00::5/128", "fd00::", 16},
		{"v6 /120", "fd00::100/120", "fd00::f0", 300},
		{"v6 /112", "fd00::/112", "fd00::fff0", 40},
		{"v6 /64", "fd00:0:0:1::/64", "fd00:0:0:1::", 200},
		{"v6 /64 end", "fd00::/64", "fd00::ffff:ffff:ffff:ff80", 200},
		{"v6 /48 over the carry", "fd00::/48", "fd00::ffff:ffff:ffff:ff80", 256},
		{"v6 last", "ffff:ffff:ffff:ffff::/64", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80", 128},
	} {
		t.Run(c.name, func(t *testing.T) {
			window := walkFrom(netip.MustParseAddr(c.from), c.window)
			rapid.Check(t, func(t *rapid.T) {
				m := &indexModel{within: netip.MustParsePrefix(c.within), taken: map[netip.Addr]bool{}, window: window}
				checkIndex(t, NewIndex(m.within), m)
			})
		})
	}
}

// FuzzIndex is the same where a bitmap's chapters meet.
func FuzzIndex(f *testing.F) {
	window := walkFrom(netip.MustParseAddr("10.3.255.200"), 200)
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		m := &indexModel{within: netip.MustParsePrefix("10.0.0.0/8"), taken: map[netip.Addr]bool{}, window: window}
		checkIndex(t, NewIndex(m.within), m)
	}))
}

func checkIndex(t *rapid.T, x *Index, m *indexModel) {
	place := rapid.IntRange(0, len(m.window)-1)
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		from, length := place.Draw(t, "from"), rapid.IntRange(1, len(m.window)).Draw(t, "length")
		put := rapid.Bool().Draw(t, "put")
		for _, addr := range m.window[from:min(from+length, len(m.window))] {
			want := m.within.Contains(addr) && m.taken[addr] != put
			change := x.Remove
			if put {
				change = x.Add
			}
			if got := change(addr); got != want {
				t.Fatalf("change of %s, put %v = %v, want %v", addr, put, got, want)
			}
			if want {
				m.taken[addr] = put
			}
			if x.Has(addr) != m.taken[addr] {
				t.Fatalf("Has(%s) = %v, want %v", addr, x.Has(addr), m.taken[addr])
			}
		}
		members := 0
		for _, taken := range m.taken {
			if taken {
				members++
			}
		}
		if x.Len() != members {
			t.Fatalf("Len = %d, want %d", x.Len(), members)
		}
		first, last := m.window[place.Draw(t, "first")], m.window[place.Draw(t, "last")]
		checkFree(t, x, m, first, last)
	}
}

func checkFree(t *rapid.T, x *Index, m *indexModel, first, last netip.Addr) {
	t.Helper()
	free := m.free(first, last)
	if got := x.CountFree(first, last); got != uint64(len(free)) {
		t.Fatalf("CountFree(%s, %s) = %d, want %d", first, last, got, len(free))
	}
	members, lowest := uint64(0), netip.Addr{}
	for addr, taken := range m.taken {
		if taken && m.within.Contains(addr) && !addr.Less(first) && !last.Less(addr) {
			members++
			if !lowest.IsValid() || addr.Less(lowest) {
				lowest = addr
			}
		}
	}
	if got, ok := x.Next(first, last); got != lowest || ok != lowest.IsValid() {
		t.Fatalf("Next(%s, %s) = %s %v, want %s", first, last, got, ok, lowest)
	}
	if got := x.Count(first, last); got != members {
		t.Fatalf("Count(%s, %s) = %d, want %d", first, last, got, members)
	}
	next, ok := x.NextFree(first, last)
	if ok != (len(free) > 0) || ok && next != free[0] {
		t.Fatalf("NextFree(%s, %s) = %s %v, want the first of %v", first, last, next, ok, free)
	}
	for _, n := range []int{0, 1, len(free) / 2, len(free) - 1} {
		if n < 0 || n >= len(free) {
			continue
		}
		if got, ok := x.NthFree(first, last, uint64(n)); !ok || got != free[n] {
			t.Fatalf("NthFree(%s, %s, %d) = %s %v, want %s", first, last, n, got, ok, free[n])
		}
	}
	for _, n := range []uint64{uint64(len(free)), uint64(len(free)) + 1, math.MaxUint64} {
		if got, ok := x.NthFree(first, last, n); ok {
			t.Fatalf("NthFree(%s, %s, %d) = %s, want none: %d are free", first, last, n, got, len(free))
		}
	}
}

// TestIndexScattered has addresses far from each other, and asks over the
// whole prefix, which no walk could.
func TestIndexScattered(t *testing.T) {
	for _, within := range []string{"10.0.0.0/8", "10.0.0.0/7", "fd00::/64", "fd00::/40"} {
		t.Run(within, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				all := Of(netip.MustParsePrefix(within))
				x := NewIndex(netip.MustParsePrefix(within))
				var members []number
				for range rapid.IntRange(0, 60).Draw(t, "members") {
					host := hostMask(netip.MustParsePrefix(within))
					n := number{all.first.hi | rapid.Uint64().Draw(t, "hi")&host.hi, all.first.lo | rapid.Uint64().Draw(t, "lo")&host.lo}
					if x.Add(n.addr()) {
						members = append(members, n)
					}
				}
				slices.SortFunc(members, number.compare)
				for i, n := range members {
					checkBefore(t, x, all, n, i)
				}
			})
		})
	}
}

// checkBefore asks about what lies below the i-th member.
func checkBefore(t *rapid.T, x *Index, all Interval, n number, i int) {
	t.Helper()
	want := n.minus(all.first).minus(number{0, uint64(i)})
	if want.hi > 0 {
		want.lo = math.MaxUint64
	}
	if got := x.CountFree(all.first.addr(), n.addr()); got != want.lo {
		t.Fatalf("CountFree up to member %d = %d, want %d", i, got, want.lo)
	}
	if want.hi > 0 || want.lo == 0 {
		return
	}
	got, ok := x.NthFree(all.first.addr(), all.last.addr(), want.lo-1)
	below := n.previous()
	for x.Has(below.addr()) {
		below = below.previous()
	}
	if !ok || got != below.addr() {
		t.Fatalf("NthFree(%d) = %s %v, want %s, the highest free below member %d", want.lo-1, got, ok, below.addr(), i)
	}
}

func TestIndexCountsThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		name, within, first, last string
		want                      uint64
	}{
		{"v4 /0", "0.0.0.0/0", "0.0.0.0", "255.255.255.255", 1 << 32},
		{"v6 /65", "fd00::/65", "fd00::", "fd00::7fff:ffff:ffff:ffff", 1 << 63},
		{"v6 /64, all but one", "fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", math.MaxUint64},
		{"v6 /64", "fd00::/64", "fd00::", "fd00::ffff:ffff:ffff:ffff", math.MaxUint64},
		{"v6 /48", "fd00::/48", "fd00::", "fd00:0:0:ffff:ffff:ffff:ffff:ffff", math.MaxUint64},
		{"v6 /0", "::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", math.MaxUint64},
		{"wider than the prefix", "10.1.2.0/24", "0.0.0.0", "255.255.255.255", 256},
		{"beside the prefix", "10.1.2.0/24", "10.1.3.0", "10.1.3.255", 0},
		{"backwards", "10.1.2.0/24", "10.1.2.9", "10.1.2.8", 0},
		{"the other family", "10.1.2.0/24", "fd00::", "fd00::ff", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := NewIndex(netip.MustParsePrefix(c.within))
			first, last := netip.MustParseAddr(c.first), netip.MustParseAddr(c.last)
			if got := x.CountFree(first, last); got != c.want {
				t.Errorf("CountFree = %d, want %d", got, c.want)
			}
			got, ok := x.NthFree(first, last, math.MaxUint64)
			if fits := c.within == "fd00::/48" || c.within == "::/0" || c.name == "v6 /64"; ok != fits {
				t.Errorf("NthFree of the highest count = %s %v, want %v", got, ok, fits)
			}
		})
	}
}

// full is a network in which one address in a thousand is free, drawn with a seed.
func full(tb testing.TB, within netip.Prefix) *Index {
	tb.Helper()
	x := NewIndex(within)
	random := rand.New(rand.NewPCG(1, 2))
	n := Of(within).first
	for range 1 << (32 - within.Bits()) {
		if random.IntN(1000) != 0 {
			x.Add(n.addr())
		}
		n = n.next()
	}
	return x
}

// scattered is a /64 with so many addresses, and a run of as many.
func scattered(count int) *Index {
	x := NewIndex(netip.MustParsePrefix("fd00::/64"))
	random := rand.New(rand.NewPCG(1, 2))
	run := number{hi: 0xfd00 << 48}
	for range count {
		x.Add(number{0xfd00 << 48, random.Uint64()}.addr())
		x.Add(run.addr())
		run = run.next()
	}
	return x
}

func TestIndexAnswersWithoutAllocating(t *testing.T) {
	for name, x := range map[string]*Index{"bitmap": full(t, netip.MustParsePrefix("10.0.0.0/12")), "sparse": scattered(10_000)} {
		t.Run(name, func(t *testing.T) {
			first, last := x.within.first.addr(), x.within.last.addr()
			n := x.CountFree(first, last) / 2
			got := testing.AllocsPerRun(100, func() {
				x.NextFree(first, last)
				x.NthFree(first, last, n)
				x.CountFree(first, last)
				x.Remove(first)
				x.Add(first)
				x.Has(last)
			})
			if got != 0 {
				t.Errorf("%v allocations, want none", got)
			}
		})
	}
}

// BenchmarkIndex asks a /8 at 99.9 %, and sets of a /64.
func BenchmarkIndex(b *testing.B) {
	sets := []struct {
		name string
		set  *Index
	}{{"v4-8-full", full(b, netip.MustParsePrefix("10.0.0.0/8"))}}
	for _, count := range []int{1_000, 500_000} {
		sets = append(sets, struct {
			name string
			set  *Index
		}{fmt.Sprintf("v6-64-%d", 2*count), scattered(count)})
	}
	for _, s := range sets {
		x := s.set
		random := rand.New(rand.NewPCG(3, 4))
		first, last := x.within.first.addr(), x.within.last.addr()
		free := x.CountFree(first, last)
		host := x.within.last.minus(x.within.first)
		b.Run(s.name+"/NthFree", func(b *testing.B) {
			for b.Loop() {
				x.NthFree(first, last, random.Uint64N(free))
			}
		})
		b.Run(s.name+"/NextFree", func(b *testing.B) {
			for b.Loop() {
				x.NextFree(x.within.first.plus(number{lo: random.Uint64() & host.lo}).addr(), last)
			}
		})
	}
}
