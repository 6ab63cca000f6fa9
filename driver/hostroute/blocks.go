package hostroute

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// owner is the node that has most of a block's addresses, and by which interface.
type owner struct {
	node, parent string
	has          int
}

// deal says whose each block is in which anybody has an address: one route leads
// there, and more specific ones to what others have in it. It follows from the
// records alone, so that all hosts come to the same answer, and no host holds a
// block that it has nothing in.
func deal(lengths map[netip.Prefix]int, located []Located) map[netip.Prefix]owner {
	type share struct {
		block netip.Prefix
		owner owner
	}
	shares := map[share]int{}
	for _, l := range located {
		if block := blockOf(lengths, l.Address); block.IsValid() {
			shares[share{block, owner{node: l.Node, parent: l.Parent}}]++
		}
	}
	blocks := map[netip.Prefix]owner{}
	for s, has := range shares {
		s.owner.has = has
		if best, had := blocks[s.block]; !had || s.owner.better(best) {
			blocks[s.block] = s.owner
		}
	}
	return blocks
}

// leads reports whether the way to the owner's block leads to an address: what the same
// node has on another parent is not to be found by this one.
func (o owner) leads(l Located) bool { return o.node == l.Node && o.parent == l.Parent }

// apart leaves of what a network's subnets are dealt out in those that overlap none of
// another network's before, which it adds them to: two networks may have one subnet,
// and a block of it has its way once.
func apart(lengths, before map[netip.Prefix]int) map[netip.Prefix]int {
	left := map[netip.Prefix]int{}
	for subnet, bits := range lengths {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(before)), subnet.Overlaps) {
			left[subnet] = bits
		}
	}
	maps.Copy(before, left)
	return left
}

func (o owner) better(than owner) bool {
	return cmp.Or(o.has-than.has, cmp.Compare(than.node, o.node), cmp.Compare(than.parent, o.parent)) > 0
}

// blockOf is the block an address lies in; invalid for one of a subnet that is not
// dealt out.
func blockOf(lengths map[netip.Prefix]int, addr netip.Addr) netip.Prefix {
	for subnet, bits := range lengths {
		if subnet.Contains(addr) {
			return netip.PrefixFrom(addr, bits).Masked()
		}
	}
	return netip.Prefix{}
}

func (n Network) blockOf(addr netip.Addr) netip.Prefix { return blockOf(n.Blocks, addr) }
