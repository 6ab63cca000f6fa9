package answer

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
)

// BenchmarkNetworkViews is what an agent does for `gvlan network ls` once it has
// read the store: 200 nodes, 50 networks, 10,000 containers:
// well below the 200 ms that a person may wait.
func BenchmarkNetworkViews(b *testing.B) {
	v := clusterView{nodes: map[string]store.Node{}, live: map[string]bool{}}
	var have []store.NodeNetwork
	for i := range 50 {
		n := store.Network{UUID: fmt.Sprint("u", i), Name: fmt.Sprint("lan", i), Scope: store.ScopeGlobal, State: store.NetworkActive, Origin: "id0"}
		v.networks = append(v.networks, n)
		have = append(have, store.NodeNetwork{UUID: n.UUID, Name: n.Name, State: "replica", Parent: "eth0"})
	}
	for i := range 200 {
		node := store.Node{Node: fmt.Sprint("id", i), Host: fmt.Sprint("h", i), Networks: have}
		v.nodes[node.Node], v.live[node.Node] = node, true
	}
	for i := range 10_000 {
		v.endpoints = append(v.endpoints, store.Endpoint{Network: fmt.Sprint("u", i%50), Node: fmt.Sprint("id", i%200), IPv4: "10.0.0.1/8", MAC: "02:42:0a:00:00:01", Container: store.Container{Name: fmt.Sprint("web", i)}})
	}
	for b.Loop() {
		if err := json.NewEncoder(io.Discard).Encode(api.WithLists(v.views())); err != nil {
			b.Fatal(err)
		}
	}
}
