package survey

import (
	"context"
	"math"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Grid is a subnet of a network, or a part of it, for who looks at it as a
// picture: each address or, where those are many, blocks of them.
type Grid struct {
	At        netip.Prefix
	Addresses []Entry // of At in order, all of them; none where there are Blocks
	Blocks    []Block // parts of At of one size, in order
	// Sparse says that blocks are left out in which all is free or excluded.
	Sparse bool
	Counts map[State]int // addresses of At; where there are Blocks, without free ones
}

// Block is a part of a grid.
type Block struct {
	Prefix netip.Prefix
	Counts map[State]int // addresses, but for free ones
}

const (
	// squareBits is how many bits tell the addresses apart that are shown one by
	// one: a /22 of IPv4.
	squareBits = 10
	// blockBits is how many tell those of the finest block apart, and blocks by how
	// many bits more a coarser one is.
	blockBits = 8
	// mostBlocks is how many are shown at once.
	mostBlocks = 1 << blockBits
	// mostCounted is what a count ends at: a float64 and a JSON number are exact up
	// to it.
	mostCounted = 1 << 53
)

// Grid makes the picture of a part of a subnet out of the store, and the addresses
// that are awaited.
func (s *Survey) Grid(ctx context.Context, kv Scanner, sub *Subnet, at netip.Prefix, awaited map[netip.Addr]Entry) (Grid, error) {
	return s.pictured(sub, at, func(take func(Entry) error) error {
		return s.Each(ctx, kv, store.LeasesSpan(sub.Network.Segment, at), take)
	}, awaited)
}

// GridOf is Grid by entries that are known, in any order.
func (s *Survey) GridOf(sub *Subnet, at netip.Prefix, known []Entry) Grid {
	g, _ := s.pictured(sub, at, eachOf(known), nil) // taking fails nowhere
	return g
}

// pictured makes a grid of the entries that each tells of, in any order.
func (s *Survey) pictured(sub *Subnet, at netip.Prefix, each func(take func(Entry) error) error, awaited map[netip.Addr]Entry) (Grid, error) {
	g := Grid{At: at.Masked(), Counts: map[State]int{}}
	known := map[netip.Addr]Entry{}
	err := each(func(a Entry) error {
		if a.Segment == sub.Network.Segment && g.At.Contains(a.Address) {
			known[a.Address] = a
		}
		return nil
	})
	if err != nil {
		return Grid{}, err
	}
	for addr, wanted := range awaited {
		if !g.At.Contains(addr) {
			continue
		}
		a, has := known[addr]
		if !has {
			a = s.unheld(addr, []*Subnet{sub})
		}
		if a.State == Free || a.State == Resting {
			known[addr] = wanted
		}
	}
	if at.Addr().BitLen()-at.Bits() <= squareBits {
		s.squares(&g, sub, known)
	} else {
		s.blocks(&g, sub, known)
	}
	return g, nil
}

// squares tells of every address.
func (s *Survey) squares(g *Grid, sub *Subnet, known map[netip.Addr]Entry) {
	last := pool.LastOf(g.At)
	for addr := g.At.Addr(); ; addr = addr.Next() {
		a, has := known[addr]
		if !has {
			a = s.unheld(addr, []*Subnet{sub})
		}
		g.Addresses = append(g.Addresses, a)
		g.Counts[a.State]++
		if addr == last {
			return
		}
	}
}

// blocks counts what every block has: of addresses that something is known of, one
// by one, and of excluded ones by how many there are.
func (s *Survey) blocks(g *Grid, sub *Subnet, known map[netip.Addr]Entry) {
	for addr := range s.special(sub) {
		if _, has := known[addr]; !has && g.At.Contains(addr) {
			if a := s.unheld(addr, []*Subnet{sub}); a.State != Free && a.State != Excluded {
				known[addr] = a
			}
		}
	}
	bits := g.At.Addr().BitLen() - blockBits
	g.Sparse = bits-g.At.Bits() > blockBits
	counted := countedBy(bits, known)
	for g.Sparse && len(counted) > mostBlocks {
		bits -= blockBits
		counted = countedBy(bits, known)
	}
	if g.Sparse {
		for prefix, counts := range counted {
			g.Blocks = append(g.Blocks, Block{prefix, counts})
		}
		slices.SortFunc(g.Blocks, func(a, b Block) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	} else {
		last := pool.LastOf(g.At)
		for prefix := netip.PrefixFrom(g.At.Addr(), bits); ; prefix = netip.PrefixFrom(pool.LastOf(prefix).Next(), bits) {
			counts := counted[prefix]
			if counts == nil {
				counts = map[State]int{}
			}
			g.Blocks = append(g.Blocks, Block{prefix, counts})
			if prefix.Contains(last) {
				break
			}
		}
	}
	var told []netip.Addr // of those that are excluded
	for addr, a := range known {
		g.Counts[a.State]++
		if sub.excluded.Has(addr) {
			told = append(told, addr)
		}
	}
	sub.countExcluded(g.At, told, g.Counts)
	for i := range g.Blocks {
		sub.countExcluded(g.Blocks[i].Prefix, told, g.Blocks[i].Counts)
	}
}

// special are the addresses of a subnet that are something without a record, but
// for those that are excluded.
func (s *Survey) special(sub *Subnet) map[netip.Addr]bool {
	all := map[netip.Addr]bool{sub.Pool.Subnet.Masked().Addr(): true, pool.LastOf(sub.Pool.Subnet): true, sub.Pool.Gateway: true}
	for _, addr := range sub.Pool.Aux {
		all[addr] = true
	}
	for addr := range s.Hosts {
		all[addr] = true
	}
	for _, r := range s.Reservations {
		if r.At.Segment == sub.Network.Segment {
			all[r.At.Addr] = true
		}
	}
	return all
}

// countedBy counts what is known by blocks of a length.
func countedBy(bits int, known map[netip.Addr]Entry) map[netip.Prefix]map[State]int {
	counted := map[netip.Prefix]map[State]int{}
	for addr, a := range known {
		prefix := netip.PrefixFrom(addr, bits).Masked()
		if counted[prefix] == nil {
			counted[prefix] = map[State]int{}
		}
		counted[prefix][a.State]++
	}
	return counted
}

// countExcluded counts the excluded addresses of a part besides those that are
// told of, which are counted as what they are.
func (s *Subnet) countExcluded(part netip.Prefix, told []netip.Addr, counts map[State]int) {
	all, n := addrset.Of(part), 0.0
	for run := range s.excluded.Intervals() {
		if !run.Overlaps(all) {
			continue
		}
		first, last := run.First(), run.Last()
		if first.Less(all.First()) {
			first = all.First()
		}
		if all.Last().Less(last) {
			last = all.Last()
		}
		n += addrset.Between(first, last).Size()
	}
	if n == 0 {
		return
	}
	for _, addr := range told {
		if part.Contains(addr) {
			n--
		}
	}
	if n > 0 {
		counts[Excluded] += int(math.Min(n, mostCounted))
	}
}
