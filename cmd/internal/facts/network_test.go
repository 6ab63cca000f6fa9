package facts

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
)

func TestHostsColumn(t *testing.T) {
	on := func(scope store.NetworkScope, states ...string) api.NetworkView {
		v := api.NetworkView{Scope: string(scope)}
		for _, state := range states {
			v.Hosts = append(v.Hosts, api.NetworkHost{State: state})
		}
		return v
	}
	withWhy := on(store.ScopeGlobal, "committed", "replica")
	withWhy.Hosts[1].Why = "no usable parent interface"
	tests := []struct {
		name string
		view api.NetworkView
		want string
	}{
		{"everywhere wanted", on(store.ScopeGlobal, "replica", "replica", "missing"), "2/3"},
		{"made here", on(store.ScopeGlobal, "committed", "committed", "missing"), "2/3"},
		{"out of step", on(store.ScopeGlobal, "conflict", "conflict", "missing"), "0/3"},
		{"of the swarm", on(store.ScopeSwarm, "swarm", "swarm", "no task"), "2"},
		{"no use on one host", withWhy, "1/2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := UsableHosts(test.view); got != test.want {
				t.Errorf("HOSTS is %s, want %s", got, test.want)
			}
		})
	}
}

// TestNetworkViewNamesHosts: a network was made on a host, by what people call it.
func TestNetworkViewNamesHosts(t *testing.T) {
	v := api.NetworkView{State: "active", Scope: "global", Origin: "id1", Hosts: []api.NetworkHost{{Node: "id1", Name: "h1", Host: "h1"}, {Node: "id2", Name: "id2", Host: "h1"}}}
	for origin, want := range map[string]string{"id1": "h1", "id2": "id2", "gone": "gone"} {
		v.Origin = origin
		if got := MadeOn(v); got != want {
			t.Errorf("made on %q, want %q", got, want)
		}
	}
}

// TestHostAccessLines: hosts of one answer share a line; those without one have none.
func TestHostAccessLines(t *testing.T) {
	view := api.NetworkView{Hosts: []api.NetworkHost{
		{Name: "h1", HostAccess: "on"}, {Name: "h2"}, {Name: "h3", HostAccess: "off: macvlan_mode=private"}, {Name: "h4", HostAccess: "on"},
	}}
	want := []string{"on (h1, h4)", "off: macvlan_mode=private (h3)"}
	if diff := cmp.Diff(want, Said(view, func(h api.NetworkHost) string { return h.HostAccess })); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestMany: numbers that nobody reads are told by their power of two.
func TestMany(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 254: "254", 1<<32 - 1: "4294967295", 1 << 32: "2^32", 1.8446744073709552e19: "2^64"} {
		if got := Many(n); got != want {
			t.Errorf("%f is %s, want %s", n, got, want)
		}
	}
}

// TestLastSaid: what is of now says nothing of when.
func TestLastSaid(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	if got := LastSaid(time.Time{}, now); got != "" {
		t.Errorf("of now it is said: %s", got)
	}
	if got, want := LastSaid(now.Add(-90*time.Second), now), "etcd does not answer this host: this is what it said 90 seconds ago"; got != want {
		t.Errorf("it is said: %s, want %s", got, want)
	}
}
