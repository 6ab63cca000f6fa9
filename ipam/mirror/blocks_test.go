package mirror

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// dealt is a subnet that nodes take addresses of, all of which know at once what
// others took.
type dealt struct {
	*Mirror
	bits int
	rev  store.Revision
	own  map[string]*addrset.Set
	kept []netip.Addr
}

func dealOut(subnet string, bits int) *dealt {
	d := &dealt{Mirror: of(subnet), bits: bits, rev: 1, own: map[string]*addrset.Set{}}
	d.list(1)
	return d
}

// want is what a node wants of the subnet, in order=lowest.
func (d *dealt) want(node string) Want {
	w := want(d.Subnet.String(), pool.Lowest, Rested)
	w.Blocks = Blocks{Bits: d.bits, Node: node, Own: []*addrset.Set{addrset.In(d.own, node)}, Others: &addrset.Set{}, Kept: d.kept}
	return w
}

// take has a node take what it chooses.
func (d *dealt) take(w Want) (netip.Addr, bool) {
	addr, ok := d.Choose(w, false)
	if ok {
		d.has(w.Blocks.Node, addr)
	}
	return addr, ok
}

func (d *dealt) has(node string, addr netip.Addr) {
	d.rev++
	d.Learn(addr, Taken, d.rev)
	addrset.In(d.own, node).Add(addrset.Single(addr))
}

func (d *dealt) gives(node string, addr netip.Addr) {
	d.rev++
	d.Learn(addr, Free, d.rev)
	addrset.In(d.own, node).Remove(addrset.Single(addr))
}

func (d *dealt) blockOf(addr netip.Addr) netip.Prefix {
	return netip.PrefixFrom(addr, d.bits).Masked()
}

// inTurn are the parts that a node tries, a few at most.
func (d *dealt) inTurn(w Want, most int) (parts []string) {
	for part := range d.known.inTurn(w.Ranges, w.Blocks) {
		if parts = append(parts, part.String()); len(parts) == most {
			break
		}
	}
	return parts
}

// TestInTurn: first what is mostly the node's own, then what is nobody's, then where
// it has any.
func TestInTurn(t *testing.T) {
	d := dealOut("10.0.0.0/28", 30)
	d.kept = []netip.Addr{low(13)} // the gateway
	d.has("gateway", low(13))
	if got := d.inTurn(d.want("a"), 1); !slices.Equal(got, []string{"10.0.0.0/30"}) {
		t.Errorf("in an empty subnet first %v, want its first block", got)
	}
	for n, node := range map[int]string{0: "b", 1: "b", 2: "a", 5: "a", 8: "a", 9: "b"} {
		d.has(node, low(n))
	}
	want := []string{"10.0.0.4/30", "10.0.0.8/30", "10.0.0.12/30", "10.0.0.0/30"}
	if got := d.inTurn(d.want("a"), 9); !slices.Equal(got, want) {
		t.Errorf("a tries %v, want %v", got, want)
	}
	for _, n := range []int{4, 6, 7} {
		d.has("a", low(n)) // full
	}
	w := d.want("a")
	w.Ranges = []netip.Prefix{netip.MustParsePrefix("10.0.0.14/31"), netip.MustParsePrefix("10.0.0.0/29")}
	want = []string{"10.0.0.14/31", "10.0.0.0/30"}
	if got := d.inTurn(w, 9); !slices.Equal(got, want) {
		t.Errorf("of ranges a tries %v, want %v", got, want)
	}
}

// TestStoppedContainersHoldTheirBlock: for their node, and from others.
func TestStoppedContainersHoldTheirBlock(t *testing.T) {
	d := dealOut("10.0.0.0/28", 30)
	d.has("a", low(1))
	stopped := &addrset.Set{}
	stopped.Add(addrset.Single(low(10)))
	a, b, c := d.want("a"), d.want("b"), d.want("c")
	b.Blocks.Others, c.Blocks.Others = stopped, stopped
	a.Blocks.Own = append(a.Blocks.Own, stopped)
	want := []string{"10.0.0.0/30", "10.0.0.8/30"}
	if got := d.inTurn(a, 2); !slices.Equal(got, want) {
		t.Errorf("their node tries %v, want %v", got, want)
	}
	for _, w := range []Want{b, c} {
		if got := d.inTurn(w, 9); len(got) != 2 || slices.Contains(got, "10.0.0.8/30") {
			t.Errorf("%s tries %v, want the two blocks that are nobody's", w.Blocks.Node, got)
		}
	}
}

// TestBlocksOfIPv6 are as many addresses, and not far into a subnet.
func TestBlocksOfIPv6(t *testing.T) {
	d := dealOut("fd00::/64", 122)
	for _, node := range []string{"a", "b", "c"} {
		var blocks []netip.Prefix
		for range 128 {
			addr, _ := d.take(d.want(node))
			if block := d.blockOf(addr); !slices.Contains(blocks, block) {
				blocks = append(blocks, block)
			}
			if !netip.MustParsePrefix("fd00::/106").Contains(addr) {
				t.Fatalf("%s is given %s", node, addr)
			}
		}
		if len(blocks) != 2 {
			t.Errorf("%s has 128 addresses in %v", node, blocks)
		}
	}
}

// TestNodesBeginApart: of a subnet that somebody has an address of, where no node
// knows yet of the others.
func TestNodesBeginApart(t *testing.T) {
	d := dealOut("10.0.0.0/16", 26)
	d.has("first", addr("10.0.0.0"))
	met := map[string]int{}
	for n := range 100 {
		met[d.inTurn(d.want(fmt.Sprintf("host%d", n)), 1)[0]]++
	}
	if len(met) < 80 { // of 1,023: about 95 if they are drawn
		t.Errorf("100 nodes begin in %d blocks", len(met))
	}
}

// TestNodesThatMeet in an empty block both have it for theirs, until one has more.
func TestNodesThatMeet(t *testing.T) {
	d := dealOut("10.0.0.0/24", 28)
	d.has("a", addr("10.0.0.32"))
	d.has("b", addr("10.0.0.33"))
	const met = "10.0.0.32/28"
	for _, node := range []string{"a", "b"} {
		if got := d.inTurn(d.want(node), 1); got[0] != met {
			t.Errorf("%s goes on in %v", node, got)
		}
	}
	d.has("a", addr("10.0.0.34"))
	if got := d.inTurn(d.want("a"), 1); got[0] != met {
		t.Errorf("a, who has more of it, goes on in %v", got)
	}
	if got := d.inTurn(d.want("b"), 99); got[0] == met || got[len(got)-1] != met {
		t.Errorf("b, who has less of it, tries %v, want that one last", got)
	}
}

// TestOrdersHoldWithinABlock, once a node has one.
func TestOrdersHoldWithinABlock(t *testing.T) {
	for _, order := range []pool.Order{pool.Lowest, pool.Random, pool.Aged} {
		d := dealOut("10.0.0.0/24", 28)
		d.has("a", addr("10.0.0.0"))
		d.has("b", addr("10.0.0.200"))
		w := d.want("b")
		w.Order = order
		var given []netip.Addr
		for range 15 {
			addr, _ := d.take(w)
			if d.blockOf(addr) != netip.MustParsePrefix("10.0.0.192/28") {
				t.Fatalf("order=%s gives %s", order, addr)
			}
			given = append(given, addr)
			if order == pool.Aged {
				d.gives("b", addr)
			}
		}
		inOrder := slices.IsSortedFunc(given, netip.Addr.Compare)
		if inOrder != (order != pool.Random) {
			t.Errorf("order=%s gives %v", order, given)
		}
		if once := slices.Compact(slices.Clone(given)); order == pool.Aged && len(once) != 15 {
			t.Errorf("order=aged gives %v: one again before the others", given)
		}
	}
}

// TestBlocksStrandNothing: whatever nodes take and give back, in ranges and blocks of
// any size, one that wants an address has one while any is free, and a block of its
// own while one is nobody's.
func TestBlocksStrandNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := dealOut("10.0.0.0/26", rapid.IntRange(27, 30).Draw(t, "block"))
		ranges := rapid.SampledFrom([][]netip.Prefix{
			{d.Subnet}, {netip.MustParsePrefix("10.0.0.32/29")}, {netip.MustParsePrefix("10.0.0.32/28"), netip.MustParsePrefix("10.0.0.0/27")},
		}).Draw(t, "ranges")
		holder := map[netip.Addr]string{}
		size := 0
		for _, r := range ranges {
			size += 1 << (32 - r.Bits())
		}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			node := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node")
			if len(holder) > 0 && rapid.IntRange(0, 3).Draw(t, "gives") == 0 {
				all := slices.SortedFunc(maps.Keys(holder), netip.Addr.Compare)
				addr := rapid.SampledFrom(all).Draw(t, "address")
				d.gives(holder[addr], addr)
				delete(holder, addr)
				continue
			}
			w := d.want(node)
			w.Ranges = ranges
			addr, ok := d.Choose(w, rapid.Bool().Draw(t, "apart"))
			if ok != (len(holder) < size) {
				t.Fatalf("%s is given %s, %v: %d of %d are taken", node, addr, ok, len(holder), size)
			}
			if !ok {
				continue
			}
			if !w.has(addr) || holder[addr] != "" {
				t.Fatalf("%s is given %s, which %q has", node, addr, holder[addr])
			}
			if others := d.others(node, addr, holder); others > 0 && d.alone(ranges, holder) {
				t.Fatalf("%s is given %s beside %d others', and could have a block for itself", node, addr, others)
			}
			d.has(node, addr)
			holder[addr] = node
		}
	})
}

// others counts the addresses of others in the block of an address, where it is mostly
// theirs.
func (d *dealt) others(node string, at netip.Addr, holder map[netip.Addr]string) (others int) {
	own := 0
	for addr, who := range holder {
		switch {
		case d.blockOf(addr) != d.blockOf(at):
		case who == node:
			own++
		default:
			others++
		}
	}
	if own >= others {
		return 0
	}
	return others
}

// alone reports whether a block of the ranges is nobody's.
func (d *dealt) alone(ranges []netip.Prefix, holder map[netip.Addr]string) bool {
	for _, r := range ranges {
		for at := r.Addr(); r.Contains(at); at = at.Next() {
			used := false
			for addr := range holder {
				used = used || d.blockOf(addr) == d.blockOf(at)
			}
			if !used {
				return true
			}
		}
	}
	return false
}
