package zone_test

import (
	"fmt"
	"testing"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// BenchmarkList is the first list of a cluster of 100,000 containers.
func BenchmarkList(b *testing.B) {
	f := dnstest.NewFeed(b, zone.Config{})
	items := make([]store.Item, 100_000)
	for i := range items {
		e := dnstest.Endpoint("h2", "lan1", fmt.Sprintf("container-%d", i), fmt.Sprintf("10.%d.%d.%d/8", i>>16, i>>8&255, i&255))
		items[i] = dnstest.Item(f, store.EndpointKey(e.Node, fmt.Sprintf("%064x", i)), e)
	}
	for b.Loop() {
		f.Zone.ApplyEndpoints(store.Change{Reset: true})
		f.Zone.ApplyEndpoints(store.Change{Reset: true, Items: items})
	}
}
