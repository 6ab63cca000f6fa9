package answer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
)

// viewOf is a definition on three hosts with both agents each, of which two
// have it in that state.
func viewOf(scope store.NetworkScope, state string) api.NetworkView {
	have := []store.NodeNetwork{{UUID: "u1", Name: "lan", State: state}}
	agent, origin := "", "id1"
	if scope == store.ScopeSwarm {
		agent, origin = config.SwarmSuffix, "id1.swarm"
	}
	v := clusterView{nodes: map[string]store.Node{}, live: map[string]bool{}}
	for _, id := range []string{"1", "2", "3"} {
		for _, suffix := range []string{"", config.SwarmSuffix} {
			n := store.Node{Node: "id" + id + suffix, Host: "h" + id}
			if suffix == agent && id != "3" {
				n.Networks = have
			}
			v.nodes[n.Node], v.live[n.Node] = n, true
		}
	}
	return v.view(store.Network{UUID: "u1", Name: "lan", Scope: scope, State: store.NetworkActive, Origin: origin})
}

func TestHostsOfANetwork(t *testing.T) {
	tests := []struct {
		name   string
		view   api.NetworkView
		usable int
		third  string // state on the host without it
	}{
		{"everywhere wanted", viewOf(store.ScopeGlobal, "replica"), 2, "missing"},
		{"made here", viewOf(store.ScopeGlobal, "committed"), 2, "missing"},
		{"out of step", viewOf(store.ScopeGlobal, "conflict"), 0, "missing"},
		{"of the swarm", viewOf(store.ScopeSwarm, "swarm"), 2, "no task"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.view.Usable(); got != test.usable {
				t.Errorf("%d hosts can use it, want %d", got, test.usable)
			}
			if got := len(test.view.Hosts); got != 3 {
				t.Fatalf("%d rows of hosts, want 3", got)
			}
			if got := test.view.Hosts[2].State; got != test.third {
				t.Errorf("h3 has it as %q, want %q", got, test.third)
			}
		})
	}
}

// TestCreateWaitsForTheAgentsThatMakeIt: a managed plugin never makes a plain
// network.
func TestCreateWaitsForTheAgentsThatMakeIt(t *testing.T) {
	v := clusterView{
		nodes: map[string]store.Node{
			"id1":       {Node: "id1", Host: "h1", Networks: []store.NodeNetwork{{UUID: "u1", Name: "lan", State: "committed"}}},
			"id1.swarm": {Node: "id1.swarm", Host: "h1"},
			"id2.swarm": {Node: "id2.swarm", Host: "h2"},
		},
		live: map[string]bool{"id1": true, "id1.swarm": true, "id2.swarm": true},
	}
	lan := store.Network{UUID: "u1", Name: "lan", Scope: store.ScopeGlobal, State: store.NetworkActive, Origin: "id1"}
	if view := v.view(lan); !view.Settled() {
		t.Errorf("create waits for more than its own host: %+v", view.Hosts)
	}
	for state, done := range map[string]bool{"seen": false, "replica": true, "conflict": true} {
		v.nodes["id1"].Networks[0].State = state
		if view := v.view(lan); view.Settled() != done {
			t.Errorf("create ends while h1 says %s: %v, want %v", state, view.Settled(), done)
		}
	}
	v.nodes["id2"], v.live["id2"] = store.Node{Node: "id2", Host: "h2"}, true
	if view := v.view(lan); view.Settled() {
		t.Errorf("create does not wait for h2: %+v", view.Hosts)
	}
}

// The store's own errors say what was read already.
func TestReadingSaysOnceWhat(t *testing.T) {
	wire := storetest.NewWire(storetest.NewMem())
	wire.Down()
	_, err := readCluster(t.Context(), wire, nil)
	if err == nil || strings.Count(err.Error(), "list ") != 1 {
		t.Errorf("error is %v, want one that says once what could not be listed", err)
	}
}

// TestNetworkViewCountsWhoCanUseIt: a host without a usable parent has the
// network and can start nothing on it.
func TestNetworkViewCountsWhoCanUseIt(t *testing.T) {
	v := clusterView{nodes: map[string]store.Node{
		"id1": {Node: "id1", Host: "h1", Networks: []store.NodeNetwork{{UUID: "u1", Name: "lan", State: "committed", Parent: "eth1"}}},
		"id2": {Node: "id2", Host: "h2", Networks: []store.NodeNetwork{{UUID: "u1", Name: "lan", State: "replica", Why: "no usable parent interface"}}},
	}}
	view := v.view(store.Network{UUID: "u1", Name: "lan", Scope: store.ScopeGlobal, State: store.NetworkActive})
	if got := view.Usable(); got != 1 || len(view.Hosts) != 2 {
		t.Errorf("%d of %d hosts can use it, want 1 of 2", got, len(view.Hosts))
	}
}

// TestLocalNetworksAreShown: a network of one host has no definition, and is
// listed and found all the same.
func TestLocalNetworksAreShown(t *testing.T) {
	pool := store.Pool{Subnet: netip.MustParsePrefix("10.0.0.0/24")}
	local := func(uuid string) []store.NodeNetwork {
		return []store.NodeNetwork{{UUID: uuid, Name: "own", State: "local", Parent: "eth1", Pools: []store.Pool{pool}}}
	}
	v := clusterView{
		networks: []store.Network{{UUID: "u0", Name: "lan", Scope: store.ScopeGlobal, State: store.NetworkActive}},
		nodes: map[string]store.Node{
			"id1": {Node: "id1", Host: "h1", Networks: local("u1")}, "id2": {Node: "id2", Host: "h2", Networks: local("u2")},
			"id3": {Node: "id3", Host: "h3", Networks: []store.NodeNetwork{{UUID: "u3", Name: "lone", State: "local", Pools: []store.Pool{pool}}}},
		},
		endpoints: []store.Endpoint{{Network: "u2", Node: "id2", IPv4: "10.0.0.9/24"}},
	}
	var got []string
	for _, view := range v.views() {
		for _, h := range view.Hosts {
			got = append(got, fmt.Sprint(view.Name, " ", view.Scope, " ", view.State, " ", view.Pools, " ", view.Usable(), " ", h.Node, " ", h.State, " ", len(h.Endpoints)))
		}
	}
	pools := fmt.Sprint([]store.Pool{pool})
	want := []string{
		"lan global active [] 0 id1 missing 0", "lan global active [] 0 id2 missing 0", "lan global active [] 0 id3 missing 0",
		"own local active " + pools + " 1 id1 local 0", "own local active " + pools + " 1 id2 local 1", "lone local active " + pools + " 1 id3 local 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("networks on hosts (-want +got):\n%s", diff)
	}
	for _, c := range []struct{ name, here, uuid string }{{"own", "id2", "u2"}, {"own", "id1", "u1"}, {"lone", "id1", "u3"}, {"lan", "id1", "u0"}} {
		if view, err := v.network(c.name, c.here); err != nil || view.UUID != c.uuid {
			t.Errorf("%s on %s is %s, %v; want %s", c.name, c.here, view.UUID, err, c.uuid)
		}
	}
	if _, err := v.network("own", "id3"); err == nil || !strings.Contains(err.Error(), "2 other hosts") {
		t.Errorf("own on a host that has none: %v, want that two others have one", err)
	}
	if _, err := v.network("none", "id1"); err == nil {
		t.Error("a network that nobody has is found")
	}
}
