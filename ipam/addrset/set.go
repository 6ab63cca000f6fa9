package addrset

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"net/netip"
	"slices"
	"sort"
)

// number is an address as a 128-bit number; IPv4 stands at its IPv4-mapped
// place, so that one set holds both families.
type number struct{ hi, lo uint64 }

func numberOf(addr netip.Addr) number {
	raw := addr.As16()
	return number{binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])}
}

func (n number) addr() netip.Addr {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], n.hi)
	binary.BigEndian.PutUint64(raw[8:], n.lo)
	return netip.AddrFrom16(raw).Unmap()
}

func (n number) compare(o number) int {
	if c := cmp.Compare(n.hi, o.hi); c != 0 {
		return c
	}
	return cmp.Compare(n.lo, o.lo)
}

func (n number) less(o number) bool { return n.compare(o) < 0 }

// Next wraps to zero after the highest number.
func (n number) next() number {
	n.lo++
	if n.lo == 0 {
		n.hi++
	}
	return n
}

// previous wraps to the highest number before zero.
func (n number) previous() number {
	if n.lo == 0 {
		n.hi--
	}
	n.lo--
	return n
}

// Interval is a run of addresses, both ends included.
type Interval struct{ first, last number }

// Overlaps reports whether two intervals share an address.
func (s Interval) Overlaps(o Interval) bool { return !s.last.less(o.first) && !o.last.less(s.first) }

// Single is an address alone.
func Single(addr netip.Addr) Interval {
	n := numberOf(addr)
	return Interval{n, n}
}

// Between is every address from first to last, of one family.
func Between(first, last netip.Addr) Interval { return Interval{numberOf(first), numberOf(last)} }

// Of covers a prefix.
func Of(p netip.Prefix) Interval {
	first := numberOf(p.Masked().Addr())
	host := hostMask(p)
	return Interval{first, number{first.hi | host.hi, first.lo | host.lo}}
}

// First is the lowest address.
func (s Interval) First() netip.Addr { return s.first.addr() }

// Last is the highest address.
func (s Interval) Last() netip.Addr { return s.last.addr() }

// Size counts the addresses, exactly up to 2^53 of them.
func (s Interval) Size() float64 {
	const low = 1 << 64 // what the upper half counts
	d := s.last.minus(s.first)
	return float64(d.hi)*low + float64(d.lo) + 1
}

// String writes an address alone, a prefix where the run is one, else first-last.
func (s Interval) String() string {
	if s.first == s.last {
		return s.First().String()
	}
	for bits := s.First().BitLen() - 1; bits >= 0; bits-- {
		if p := netip.PrefixFrom(s.First(), bits); Of(p) == s {
			return p.String()
		}
	}
	return s.First().String() + "-" + s.Last().String()
}

// hostMask has the bits of a prefix set that tell its addresses apart.
func hostMask(p netip.Prefix) number {
	bits := p.Addr().BitLen() - p.Bits()
	switch {
	case bits >= 128:
		return number{^uint64(0), ^uint64(0)}
	case bits > 64:
		return number{1<<(bits-64) - 1, ^uint64(0)}
	case bits == 64:
		return number{0, ^uint64(0)}
	default:
		return number{0, 1<<bits - 1}
	}
}

// Set is a set of addresses, kept as sorted intervals that neither overlap
// nor touch. Its size is the number of gaps, not of addresses: a full /16
// and an excluded /64 are one interval each. The zero value is empty.
type Set struct{ spans []Interval }

// at returns the index of the first interval that ends at n or after it.
func (s *Set) at(n number) int {
	return sort.Search(len(s.spans), func(i int) bool { return !s.spans[i].last.less(n) })
}

// Has reports whether an address is in the set.
func (s *Set) Has(addr netip.Addr) bool { return s.contains(numberOf(addr)) }

// Overlaps reports whether some address of an interval is in the set.
func (s *Set) Overlaps(r Interval) bool {
	i := s.at(r.first)
	return i < len(s.spans) && s.spans[i].Overlaps(r)
}

// Next returns the lowest address of the set from one on.
func (s *Set) Next(from netip.Addr) (netip.Addr, bool) {
	n := numberOf(from)
	i := s.at(n)
	if i == len(s.spans) {
		return netip.Addr{}, false
	}
	return maxNumber(n, s.spans[i].first).addr(), true
}

// Count counts the addresses of an interval that are in the set: math.MaxUint64
// if there are so many or more.
func (s *Set) Count(r Interval) (count uint64) {
	for _, run := range s.spans[s.at(r.first):] {
		if !run.Overlaps(r) {
			break
		}
		most := minNumber(run.last, r.last).minus(maxNumber(run.first, r.first)) // one less
		if count += most.lo + 1; most.hi > 0 || count <= most.lo {
			return math.MaxUint64
		}
	}
	return count
}

// Clone copies the set.
func (s *Set) Clone() *Set { return &Set{spans: slices.Clone(s.spans)} }

func (s *Set) contains(n number) bool {
	i := s.at(n)
	return i < len(s.spans) && !n.less(s.spans[i].first)
}

// nextFree returns the lowest number from n on that is not in the set; false
// when there is none up to the highest number.
func (s *Set) nextFree(n number) (number, bool) {
	i := s.at(n)
	if i == len(s.spans) || n.less(s.spans[i].first) {
		return n, true
	}
	free := s.spans[i].last.next()
	return free, free != number{}
}

// Add puts an interval into the set, joined with those it overlaps or
// touches.
func (s *Set) Add(r Interval) {
	from := r.first
	if from != (number{}) {
		from = from.previous()
	}
	i := s.at(from)
	j := i
	for j < len(s.spans) && (!r.last.less(s.spans[j].first) || s.spans[j].first == r.last.next()) {
		r.first = minNumber(r.first, s.spans[j].first)
		r.last = maxNumber(r.last, s.spans[j].last)
		j++
	}
	s.spans = slices.Replace(s.spans, i, j, r)
}

// Remove takes an interval out of the set.
func (s *Set) Remove(r Interval) {
	i := s.at(r.first)
	j := i
	var rest []Interval
	for j < len(s.spans) && !r.last.less(s.spans[j].first) {
		if s.spans[j].first.less(r.first) {
			rest = append(rest, Interval{s.spans[j].first, r.first.previous()})
		}
		if r.last.less(s.spans[j].last) {
			rest = append(rest, Interval{r.last.next(), s.spans[j].last})
		}
		j++
	}
	s.spans = slices.Replace(s.spans, i, j, rest...)
}

// Subtract takes every address of another set out.
func (s *Set) Subtract(o *Set) {
	for _, r := range o.spans {
		s.Remove(r)
	}
}

// Intervals are the set's addresses in order, in as few runs as there are.
func (s *Set) Intervals() iter.Seq[Interval] { return slices.Values(s.spans) }

// Fill makes the set hold exactly these addresses; they may come in any order.
// It is the way to load many: Add moves what lies behind.
func (s *Set) Fill(addrs []netip.Addr) {
	numbers := make([]number, len(addrs))
	for i, addr := range addrs {
		numbers[i] = numberOf(addr)
	}
	slices.SortFunc(numbers, number.compare)
	s.spans = s.spans[:0]
	for _, n := range numbers {
		if last := len(s.spans) - 1; last >= 0 && (n == s.spans[last].last || n == s.spans[last].last.next()) {
			s.spans[last].last = n
			continue
		}
		s.spans = append(s.spans, Interval{n, n})
	}
}

func minNumber(a, b number) number {
	if b.less(a) {
		return b
	}
	return a
}

func maxNumber(a, b number) number {
	if a.less(b) {
		return b
	}
	return a
}

// searchInterval asks the sets in turn until none moves the candidate any more.
func searchInterval(within Interval, taken []*Set) (number, bool) {
	n := within.first
	for agreed := 0; agreed < len(taken); {
		for _, set := range taken {
			free, ok := set.nextFree(n)
			if !ok || within.last.less(free) {
				return number{}, false
			}
			if free == n {
				agreed++
				continue
			}
			n, agreed = free, 1
		}
	}
	return n, true
}

// In returns a segment's set of several, made empty if need be.
func In(sets map[string]*Set, segment string) *Set {
	if sets[segment] == nil {
		sets[segment] = &Set{}
	}
	return sets[segment]
}
