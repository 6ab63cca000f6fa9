package events_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// BenchmarkRead reads the last day of 200 hosts that each told as much as is
// kept: 100,000 events.
func BenchmarkRead(b *testing.B) {
	kv, now := storetest.NewMem(), time.Now()
	for n := range 200 {
		node := fmt.Sprintf("%032x", n)
		for k := range 50 {
			rec := store.Trail{Node: node}
			for e := range 10 {
				i := n*500 + k*10 + e
				rec.Events = append(rec.Events, store.TrailEvent{
					Kind: string(events.Given), At: now.Add(time.Duration(k*10+e-500) * time.Minute).UnixMilli(), Network: "lan", Segment: "default",
					Address: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), MAC: "02:42:0a:00:00:01",
					Container: fmt.Sprintf("web-%d", i), Endpoint: fmt.Sprintf("%012x", i),
				})
			}
			number := now.UnixMilli() + int64(k)
			if _, err := kv.Commit(b.Context(), store.Txn{Then: []store.Op{store.Put(store.TrailKey(node, number), store.Encode(rec))}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for name, f := range map[string]events.Filter{
		"newest": {Limit: 100}, "address": {Address: netip.MustParseAddr("10.0.3.7")}, "all": {},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if all, err := events.Read(b.Context(), kv, f); err != nil || len(all) == 0 {
					b.Fatalf("%d events, %v", len(all), err)
				}
			}
		})
	}
}
