package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// viewOf is a definition on three hosts, of which two have it in that state.
func viewOf(scope store.NetworkScope, state string) NetworkView {
	have := []store.NodeNetwork{{UUID: "u1", Name: "lan", State: state}}
	v := clusterView{
		nodes: map[string]store.Node{
			"id1": {Node: "id1", Host: "h1", Networks: have},
			"id2": {Node: "id2", Host: "h2", Networks: have},
			"id3": {Node: "id3", Host: "h3"},
		},
		live: map[string]bool{"id1": true, "id2": true, "id3": true},
	}
	return v.view(store.Network{UUID: "u1", Name: "lan", Scope: scope, State: store.NetworkActive, Origin: "id1"})
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
			if got := test.view.hostsLine(); got != test.hosts {
				t.Errorf("HOSTS is %s, want %s", got, test.hosts)
			}
			if got := test.view.Hosts[2].State; got != test.third {
				t.Errorf("h3 has it as %q, want %q", got, test.third)
			}
		})
	}
}

func TestNetworkViewNamesHosts(t *testing.T) {
	var out strings.Builder
	if err := viewOf(store.ScopeGlobal, "replica").print(&out); err != nil {
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
