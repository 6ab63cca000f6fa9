package mirror

import (
	"testing"

	"gvlan/cluster/store"
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
