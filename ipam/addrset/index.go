package addrset

import (
	"math"
	"math/bits"
	"net/netip"
)

// Index is a set of addresses of one prefix that answers which of the prefix
// are not in it, by order and by count. No answer costs more as the set fills,
// and none allocates. It is not safe for use by several goroutines at once.
type Index struct {
	within Interval
	taken  positions
}

// positions is a set of numbers below a limit, and of those not in it, which
// are free.
type positions interface {
	add(n number) (changed bool)
	remove(n number) (changed bool)
	has(n number) bool
	len() int
	// next returns the lowest member from n on.
	next(n number) (number, bool)
	// below counts the members lower than n.
	below(n number) int
	// count counts the members between two numbers, both included.
	count(from, to number) int
	// free returns the free number that k free ones are lower than. There must
	// be one.
	free(k number) number
}

// bitmapBits are the host bits up to which a bitmap is used: 2 MiB at most.
const bitmapBits = 24

// NewIndex returns the empty set of a prefix's addresses.
func NewIndex(within netip.Prefix) *Index {
	x := &Index{within: Of(within)}
	if host := within.Addr().BitLen() - within.Bits(); host <= bitmapBits {
		x.taken = newBitmap(1 << host)
	} else {
		x.taken = newSparse()
	}
	return x
}

// Add puts an address in; one that is outside the prefix changes nothing.
func (x *Index) Add(addr netip.Addr) (changed bool) {
	n, ok := x.position(addr)
	return ok && x.taken.add(n)
}

// Remove takes an address out.
func (x *Index) Remove(addr netip.Addr) (changed bool) {
	n, ok := x.position(addr)
	return ok && x.taken.remove(n)
}

// Has reports whether an address is in the set.
func (x *Index) Has(addr netip.Addr) bool {
	n, ok := x.position(addr)
	return ok && x.taken.has(n)
}

// Len counts the addresses in the set.
func (x *Index) Len() int { return x.taken.len() }

// Next returns the lowest address from one on, up to last, that is in the set.
func (x *Index) Next(from, last netip.Addr) (netip.Addr, bool) {
	first, to, ok := x.clip(from, last)
	if !ok {
		return netip.Addr{}, false
	}
	n, ok := x.taken.next(first)
	if !ok || to.less(n) {
		return netip.Addr{}, false
	}
	return x.within.first.plus(n).addr(), true
}

// NextFree returns the lowest address from one on, up to last, that is in the
// prefix and not in the set.
func (x *Index) NextFree(from, last netip.Addr) (netip.Addr, bool) {
	first, _, ok := x.clip(from, last)
	if ok && !x.taken.has(first) { // mostly so: no need to count
		return x.within.first.plus(first).addr(), true
	}
	return x.NthFree(from, last, 0)
}

// CountFree counts the addresses from first to last that are in the prefix and
// not in the set: math.MaxUint64 if there are so many or more.
func (x *Index) CountFree(first, last netip.Addr) uint64 {
	from, to, ok := x.clip(first, last)
	if !ok {
		return 0
	}
	if free := x.countFree(from, to); free.hi == 0 {
		return free.lo
	}
	return math.MaxUint64
}

// Count counts the addresses from first to last that are in the set.
func (x *Index) Count(first, last netip.Addr) uint64 {
	from, to, ok := x.clip(first, last)
	if !ok {
		return 0
	}
	return uint64(x.taken.count(from, to))
}

// NthFree returns the address that n others are lower than, of those from first
// to last that are in the prefix and not in the set.
func (x *Index) NthFree(first, last netip.Addr, n uint64) (netip.Addr, bool) {
	from, to, ok := x.clip(first, last)
	if !ok || !(number{0, n}).less(x.countFree(from, to)) {
		return netip.Addr{}, false
	}
	k := from.minus(x.countBelow(from)).plus(number{0, n})
	return x.within.first.plus(x.taken.free(k)).addr(), true
}

// position is an address's distance from the prefix's first; false when the
// prefix does not have it.
func (x *Index) position(addr netip.Addr) (number, bool) {
	n := numberOf(addr)
	if n.less(x.within.first) || x.within.last.less(n) {
		return number{}, false
	}
	return n.minus(x.within.first), true
}

// clip returns the positions of the first and the last address of a range that
// are in the prefix.
func (x *Index) clip(first, last netip.Addr) (from, to number, ok bool) {
	a := maxNumber(numberOf(first), x.within.first)
	b := minNumber(numberOf(last), x.within.last)
	return a.minus(x.within.first), b.minus(x.within.first), !b.less(a)
}

// countBelow counts the members below a position.
func (x *Index) countBelow(n number) number { return number{0, uint64(x.taken.below(n))} }

// countFree counts what is free between two positions, both included; 2^128,
// an empty ::/0, is said as one less.
func (x *Index) countFree(from, to number) number {
	members := uint64(x.taken.count(from, to))
	all := to.minus(from) // one less than there are, so that it fits
	switch {
	case members > 0:
		return all.minus(number{0, members - 1})
	case all == number{math.MaxUint64, math.MaxUint64}:
		return all
	default:
		return all.next()
	}
}

func (n number) plus(o number) number {
	lo, carry := bits.Add64(n.lo, o.lo, 0)
	hi, _ := bits.Add64(n.hi, o.hi, carry)
	return number{hi, lo}
}

func (n number) minus(o number) number {
	lo, borrow := bits.Sub64(n.lo, o.lo, 0)
	hi, _ := bits.Sub64(n.hi, o.hi, borrow)
	return number{hi, lo}
}
