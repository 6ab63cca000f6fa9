package ipam

import (
	"cmp"
	"encoding/binary"
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

// next wraps to zero after the highest number.
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

// span is a run of numbers, both ends included.
type span struct{ first, last number }

// overlaps tells whether two spans share a number.
func (s span) overlaps(o span) bool { return !s.last.less(o.first) && !o.last.less(s.first) }

func single(addr netip.Addr) span {
	n := numberOf(addr)
	return span{n, n}
}

// spanOf covers a prefix.
func spanOf(p netip.Prefix) span {
	first := numberOf(p.Masked().Addr())
	host := hostMask(p)
	return span{first, number{first.hi | host.hi, first.lo | host.lo}}
}

// hostMask has the bits of a prefix set that tell its addresses apart.
func hostMask(p netip.Prefix) number {
	switch bits := p.Addr().BitLen() - p.Bits(); {
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

// intervals is a set of addresses, kept as sorted spans that neither overlap
// nor touch. Its size is the number of gaps, not of addresses: a full /16
// and an excluded /64 are one span each. The zero value is empty.
type intervals struct{ spans []span }

// at returns the index of the first span that ends at n or after it.
func (s *intervals) at(n number) int {
	return sort.Search(len(s.spans), func(i int) bool { return !s.spans[i].last.less(n) })
}

func (s *intervals) contains(n number) bool {
	i := s.at(n)
	return i < len(s.spans) && !n.less(s.spans[i].first)
}

// nextFree returns the lowest number from n on that is not in the set; false
// when there is none up to the highest number.
func (s *intervals) nextFree(n number) (number, bool) {
	i := s.at(n)
	if i == len(s.spans) || n.less(s.spans[i].first) {
		return n, true
	}
	free := s.spans[i].last.next()
	return free, free != number{}
}

// add puts a span into the set, joined with the spans it overlaps or
// touches.
func (s *intervals) add(r span) {
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

// remove takes a span out of the set.
func (s *intervals) remove(r span) {
	i := s.at(r.first)
	j := i
	var rest []span
	for j < len(s.spans) && !r.last.less(s.spans[j].first) {
		if s.spans[j].first.less(r.first) {
			rest = append(rest, span{s.spans[j].first, r.first.previous()})
		}
		if r.last.less(s.spans[j].last) {
			rest = append(rest, span{r.last.next(), s.spans[j].last})
		}
		j++
	}
	s.spans = slices.Replace(s.spans, i, j, rest...)
}

// fill makes the set hold exactly these numbers; they may come in any order.
// It is the way to load many: add moves what lies behind.
func (s *intervals) fill(numbers []number) {
	slices.SortFunc(numbers, number.compare)
	s.spans = s.spans[:0]
	for _, n := range numbers {
		if last := len(s.spans) - 1; last >= 0 && (n == s.spans[last].last || n == s.spans[last].last.next()) {
			s.spans[last].last = n
			continue
		}
		s.spans = append(s.spans, span{n, n})
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

// search returns the lowest address of a prefix that is in none of the sets,
// beginning at the host part of seed and wrapping around once.
func search(within netip.Prefix, seed number, taken ...*intervals) (netip.Addr, bool) {
	all, host := spanOf(within), hostMask(within)
	start := number{all.first.hi | seed.hi&host.hi, all.first.lo | seed.lo&host.lo}
	if n, ok := searchSpan(span{start, all.last}, taken); ok {
		return n.addr(), true
	}
	if start == all.first {
		return netip.Addr{}, false
	}
	n, ok := searchSpan(span{all.first, start.previous()}, taken)
	return n.addr(), ok
}

// searchSpan asks the sets in turn until none moves the candidate any more.
func searchSpan(within span, taken []*intervals) (number, bool) {
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
