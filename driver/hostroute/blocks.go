package hostroute

import (
	"cmp"
	"net/netip"
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
