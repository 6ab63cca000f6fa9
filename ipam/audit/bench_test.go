package audit_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/audit"
)

// BenchmarkAudit is of 10,000 containers on 200 nodes that are well.
func BenchmarkAudit(b *testing.B) {
	const nodes, containers = 200, 10_000
	mem := storetest.NewMem()
	ops := []store.Op{store.Put(store.NetworkKey("lan"), store.Encode(store.Network{UUID: "net-uuid", Name: "lan",
		Created: store.Definition{Segment: "default", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/16")}}}}))}
	for i := range nodes {
		node := fmt.Sprint("n", i)
		ops = append(ops, store.Put(store.EpochKey(node), store.Encode(store.Epoch{Epoch: 1})), store.Put(store.LiveKey(node), store.Encode(store.Live{})),
			store.Put(store.NodeKey(node), store.Encode(store.Node{Node: node})))
	}
	at := netip.MustParseAddr("10.0.1.0")
	for i := range containers {
		node, id := fmt.Sprint("n", i%nodes), fmt.Sprintf("%064x", i)
		lease := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: node, Epoch: 1, Nonce: "0123456789abcdef", Network: "net-uuid", Endpoint: id, Since: 1}
		ops = append(ops, store.Put(store.LeaseKey("default", at), store.Encode(lease)),
			store.Put(store.EndpointKey(node, id), store.Encode(store.Endpoint{Endpoint: id, Node: node, Segment: "default", IPv4: at.String() + "/16"})))
		at = at.Next()
	}
	for some := range slices.Chunk(ops, 100) {
		if _, err := mem.Commit(b.Context(), store.Txn{Then: some}); err != nil {
			b.Fatal(err)
		}
	}
	a := audit.Auditor{KV: mem, Grant: mem.Grant, Now: time.Now}
	b.ReportAllocs()
	for b.Loop() {
		if report, err := a.Audit(b.Context(), nil); err != nil || report.Findings != nil {
			b.Fatal(report, err)
		}
	}
}
