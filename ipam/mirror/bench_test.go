package mirror

import (
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// BenchmarkChoose is the choice alone, in a /64 with many scattered leases.
func BenchmarkChoose(b *testing.B) {
	m := of("fd00::/64")
	at := m.Subnet.Addr()
	var items []store.Item
	for range 100_000 {
		at = at.Next().Next()
		items = append(items, store.Item{Key: store.LeaseKey("default", at)})
	}
	m.list(1, items...)
	for _, order := range []pool.Order{pool.Lowest, pool.Random} {
		b.Run(string(order), func(b *testing.B) {
			w := want("fd00::/64", order, Rested)
			for b.Loop() {
				if _, ok := m.Choose(w, false); !ok {
					b.Fatal("nothing is free")
				}
			}
		})
	}
}

// BenchmarkChooseInBlocks is the choice of a node in a subnet of 1,024 blocks, or of
// more: with a block of its own, with one that is nobody's, with none left, and with
// as many full blocks of its own as 10,000 containers have.
func BenchmarkChooseInBlocks(b *testing.B) {
	for _, subnet := range []struct {
		prefix string
		bits   int
	}{{"10.0.0.0/16", 26}, {"10.0.0.0/8", 26}, {"fd00::/64", 122}} {
		d := dealOut(subnet.prefix, subnet.bits)
		w := d.want("node")
		blocks := func(node string, from, to, each int) {
			for n := range to - from {
				at := w.Blocks.nth(d.Subnet, uint64(from+n)).Addr()
				for range each {
					d.has(node, at)
					at = at.Next()
				}
			}
		}
		choose := func(name string) {
			w := d.want("node")
			b.Run(name+" of "+subnet.prefix, func(b *testing.B) {
				for b.Loop() {
					if _, ok := d.Choose(w, false); !ok {
						b.Fatal("nothing is free")
					}
				}
			})
		}
		blocks("node", 0, 1, 1)
		choose("own")
		blocks("others", 1, 1000, 1)
		d.own["node"] = &addrset.Set{}
		choose("empty")
		blocks("others", 1000, 1024, 1)
		for n := range 1024 {
			// around the block that it begins in, too
			all := uint64(1) << min(subnet.bits-d.Subnet.Bits(), mostDealt)
			d.has("others", w.Blocks.nth(d.Subnet, (w.Blocks.begin(d.Subnet)+uint64(n))%all).Addr())
		}
		choose("none")
		blocks("node", 0, 157, 64)
		choose("157 full ones")
	}
}
