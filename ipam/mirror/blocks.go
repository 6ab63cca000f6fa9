package mirror

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"iter"
	"net/netip"
	"slices"

	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Blocks are what a subnet is dealt out to nodes in: by preference only, which
// follows from what is there, so that nothing is reserved for anybody and every
// free address is given to whoever asks once there is no block for it.
type Blocks struct {
	Bits   int            // the length of each; 0: there are none
	Node   string         // whose turn it is
	Own    []*addrset.Set // the addresses that node has, and those that its stopped containers want again
	Others *addrset.Set   // those that stopped containers of other nodes want again
	Kept   []netip.Addr   // have a record that is no container's: a gateway's
}

// mostWalked bounds how many blocks one choice looks at, those of the node and those
// of nobody alike: all of a /16's blocks of 64, in 0.2 ms, and 0.3 ms in IPv6
// (BenchmarkChooseInBlocks). Where that many in turn are others' the
// subnet is as good as dealt out.
const mostWalked = 1024

// mostDealt is the most blocks of a range that are dealt out, as a power of two, so
// that addresses of a large one, as any of IPv6, remain readable: room for 4 million
// in blocks of 64.
const mostDealt = 16

// inTurn yields the parts of ranges in the order in which a node tries them: the
// blocks that are mostly its own, the lowest first; empty ones; those in which it
// has any address. What is left, in others' blocks, is the caller's to try.
//
// Of two nodes that met in an empty block both may go on there, until one has more:
// then the other one begins a block of its own.
func (r *records) inTurn(ranges []netip.Prefix, b Blocks) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		var others []netip.Prefix
		for part := range b.own(ranges) {
			block := b.around(part.Addr())
			switch {
			case r.late.CountFree(part.Addr(), pool.LastOf(part)) == 0:
			case !r.mostly(block, b):
				others = append(others, part)
			case !yield(part):
				return
			}
		}
		for part := range r.empty(ranges, b) {
			if !yield(part) {
				return
			}
		}
		for _, part := range others {
			if !yield(part) {
				return
			}
		}
	}
}

// own yields the parts in which the node has addresses, and not all there are.
func (b Blocks) own(ranges []netip.Prefix) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		walked := 0
		for _, of := range ranges {
			at := of.Masked().Addr()
			for ; walked < mostWalked; walked++ {
				first, ok := b.next(at)
				if !ok || !of.Contains(first) {
					break
				}
				block := b.around(first)
				if !b.isFull(block) && !yield(narrower(block, of)) {
					return
				}
				if at = pool.LastOf(block).Next(); !at.IsValid() {
					break
				}
			}
		}
	}
}

// empty yields the parts in which no container has an address, nor wants one again
// (a host that boots anew finds its block as it left it), from one on that
// follows from the node's name and the range, so that nodes which choose at once
// rarely meet. Who comes first, to a range that nobody has an address of, begins at
// its beginning.
func (r *records) empty(ranges []netip.Prefix, b Blocks) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		walked := 0
		for _, of := range ranges {
			of = of.Masked()
			count, from := uint64(1)<<min(max(b.Bits-of.Bits(), 0), mostDealt), uint64(0)
			if !r.nobodys(of, b) {
				from = b.begin(of) % count
			}
			for i := range count {
				if walked++; walked > mostWalked {
					return
				}
				part := b.nth(of, (from+i)%count)
				if r.nobodys(b.around(part.Addr()), b) && !yield(part) {
					return
				}
			}
		}
	}
}

// mostly reports whether at least half of the containers' addresses in a block are
// the node's.
func (r *records) mostly(block netip.Prefix, b Blocks) bool {
	of := r.taken.Count(block.Addr(), pool.LastOf(block))
	for _, addr := range b.Kept {
		if block.Contains(addr) && r.taken.Has(addr) {
			of--
		}
	}
	return 2*b.count(block) >= of
}

// nobodys reports whether no container has an address of a prefix, or wants it again.
func (r *records) nobodys(of netip.Prefix, b Blocks) bool {
	if b.Others.Overlaps(addrset.Of(of)) {
		return false
	}
	last := pool.LastOf(of)
	for at := of.Addr(); at.IsValid(); at = at.Next() {
		var found bool
		if at, found = r.taken.Next(at, last); !found {
			return true
		}
		if !slices.Contains(b.Kept, at) {
			return false
		}
	}
	return true
}

// next is the lowest address from one on that is the node's.
func (b Blocks) next(from netip.Addr) (lowest netip.Addr, found bool) {
	for _, own := range b.Own {
		if addr, ok := own.Next(from); ok && (!found || addr.Less(lowest)) {
			lowest, found = addr, true
		}
	}
	return lowest, found
}

// count counts the addresses of a block that are the node's.
func (b Blocks) count(block netip.Prefix) (count uint64) {
	for _, own := range b.Own {
		count += own.Count(addrset.Of(block))
	}
	return count
}

// isFull reports whether all of a block is the node's.
func (b Blocks) isFull(block netip.Prefix) bool {
	size := uint64(1) << (block.Addr().BitLen() - block.Bits())
	return slices.ContainsFunc(b.Own, func(own *addrset.Set) bool { return own.Count(addrset.Of(block)) == size })
}

// begin is a number that differs between nodes.
func (b Blocks) begin(of netip.Prefix) uint64 {
	h := fnv.New64a()
	io.WriteString(h, b.Node+" "+of.String())
	sum := h.Sum64()
	return sum ^ sum>>32 // the low bits alone follow from those of the letters
}

// around is the block that has an address.
func (b Blocks) around(addr netip.Addr) netip.Prefix {
	return netip.PrefixFrom(addr, b.Bits).Masked()
}

// nth is a block of a range by its number, or the range where that is none larger.
func (b Blocks) nth(of netip.Prefix, n uint64) netip.Prefix {
	if of.Bits() >= b.Bits {
		return of
	}
	raw := of.Addr().As16()
	low := binary.BigEndian.Uint64(raw[8:]) | n<<(of.Addr().BitLen()-b.Bits)
	binary.BigEndian.PutUint64(raw[8:], low)
	return netip.PrefixFrom(netip.AddrFrom16(raw).Unmap(), b.Bits)
}

// narrower is the one of two prefixes that lies in the other.
func narrower(a, b netip.Prefix) netip.Prefix {
	if a.Bits() < b.Bits() {
		return b.Masked()
	}
	return a
}
