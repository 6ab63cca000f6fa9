package ipam

import (
	"fmt"
	"sync/atomic"
	"testing"

	"gvlan/cluster/store"
)

// BenchmarkPut is what the store itself costs: one create-if-absent.
func BenchmarkPut(b *testing.B) {
	far := openEtcd(b)
	for i := 0; b.Loop(); i++ {
		key := fmt.Sprintf("/raw/%d", i)
		if _, err := far.Commit(b.Context(), store.Txn{If: []store.Cond{store.Absent(key)}, Then: []store.Op{store.Put(key, []byte("x"))}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddress is a dynamic address with everything on: session, mirror,
// journal. Compare with BenchmarkPut.
func BenchmarkAddress(b *testing.B) {
	c := &cluster{TB: b, far: openEtcd(b)}
	n := c.host("h1").mustCreate("10.0.0.0/8")
	defer n.h.stop()
	n.h.ready()
	for b.Loop() {
		if _, err := n.h.RequestAddress(b.Context(), AddressRequest{PoolID: n.ids[0]}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddressesAtOnce is the same from many networks of one host.
func BenchmarkAddressesAtOnce(b *testing.B) {
	c := &cluster{TB: b, far: openEtcd(b)}
	h := c.host("h1")
	var lans []*lan
	for range 8 {
		lans = append(lans, h.mustCreate("10.0.0.0/8"))
	}
	defer h.stop()
	h.ready()
	var turn atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		n := lans[turn.Add(1)%8]
		for pb.Next() {
			if _, err := h.RequestAddress(b.Context(), AddressRequest{PoolID: n.ids[0]}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
