package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// viewOf is a definition on three hosts with both agents each, of which two
// have it in that state.
func viewOf(scope store.NetworkScope, state string) NetworkView {
	have := []store.NodeNetwork{{UUID: "u1", Name: "lan", State: state}}
	agent, origin := "", "id1"
	if scope == store.ScopeSwarm {
		agent, origin = swarmSuffix, "id1.swarm"
	}
	v := clusterView{nodes: map[string]store.Node{}, live: map[string]bool{}}
	for _, id := range []string{"1", "2", "3"} {
		for _, suffix := range []string{"", swarmSuffix} {
			n := store.Node{Node: "id" + id + suffix, Host: "h" + id}
			if suffix == agent && id != "3" {
				n.Networks = have
			}
			v.nodes[n.Node], v.live[n.Node] = n, true
		}
	}
	return v.view(store.Network{UUID: "u1", Name: "lan", Scope: scope, State: store.NetworkActive, Origin: origin})
}

func TestHostsColumn(t *testing.T) {
	tests := []struct {
		name  string
		view  NetworkView
		hosts string // how many have it
		third string // state on the host without it
	}{
		{"everywhere wanted", viewOf(store.ScopeGlobal, "replica"), "2/3", "missing"},
		{"made here", viewOf(store.ScopeGlobal, "committed"), "2/3", "missing"},
		{"out of step", viewOf(store.ScopeGlobal, "conflict"), "0/3", "missing"},
		{"of the swarm", viewOf(store.ScopeSwarm, "swarm"), "2", "no task"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := hostsColumn(test.view); got != test.hosts {
				t.Errorf("HOSTS is %s, want %s", got, test.hosts)
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
	if view := v.view(lan); !settled(view) {
		t.Errorf("create waits for more than its own host: %+v", view.Hosts)
	}
	for state, done := range map[string]bool{"seen": false, "replica": true, "conflict": true} {
		v.nodes["id1"].Networks[0].State = state
		if view := v.view(lan); settled(view) != done {
			t.Errorf("create ends while h1 says %s: %v, want %v", state, settled(view), done)
		}
	}
	v.nodes["id2"], v.live["id2"] = store.Node{Node: "id2", Host: "h2"}, true
	if view := v.view(lan); settled(view) {
		t.Errorf("create does not wait for h2: %+v", view.Hosts)
	}
}

func TestNetworkViewNamesHosts(t *testing.T) {
	var out strings.Builder
	if err := printNetwork(&out, viewOf(store.ScopeGlobal, "replica"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(out.String()[strings.Index(out.String(), "state"):], "\n")
	if diff := cmp.Diff("state    active, scope global, made on h1", line); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// The store's own errors say what was read already.
func TestReadingSaysOnceWhat(t *testing.T) {
	wire := storetest.NewWire(storetest.NewMem())
	wire.Down()
	_, err := readCluster(t.Context(), wire)
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
	if got := hostsColumn(view); got != "1/2" {
		t.Errorf("HOSTS is %s, want 1/2", got)
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
	var out strings.Builder
	if err := printNetworkViews(&out, v.views(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"NETWORK SCOPE STATE SUBNETS HOSTS ENDPOINTS OUT OF STEP",
		"lan global active 0/3 0 -", "own local active 10.0.0.0/24 1/1 0 -", "own local active 10.0.0.0/24 1/1 1 -", "lone local active 10.0.0.0/24 1/1 0 -",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("network ls (-want +got):\n%s", diff)
	}
	for _, c := range []struct{ name, here, uuid string }{{"own", "id2", "u2"}, {"own", "id1", "u1"}, {"lone", "id1", "u3"}, {"lan", "id1", "u0"}} {
		if view, err := v.called(c.name, c.here); err != nil || view.UUID != c.uuid {
			t.Errorf("%s on %s is %s, %v; want %s", c.name, c.here, view.UUID, err, c.uuid)
		}
	}
	if _, err := v.called("own", "id3"); err == nil || !strings.Contains(err.Error(), "2 other hosts") {
		t.Errorf("own on a host that has none: %v, want that two others have one", err)
	}
	if _, err := v.called("none", "id1"); err == nil {
		t.Error("a network that nobody has is found")
	}
}
