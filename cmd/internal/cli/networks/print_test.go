package networks

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
)

func TestNetworkRows(t *testing.T) {
	local := api.NetworkView{
		Name: "own", Scope: "local", State: "active", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24")}},
		Hosts: []api.NetworkHost{{Node: "id2", Host: "h2", State: "local", Endpoints: []api.EndpointView{{IPv4: "10.0.0.9/24"}}}},
	}
	lan := api.NetworkView{Name: "lan", Scope: "global", State: "active", Hosts: []api.NetworkHost{{State: "missing"}, {State: "missing"}, {State: "missing"}}}
	local.Hosts[0].Why = "no usable parent interface"
	var out strings.Builder
	if err := networkList().Print(&out, []api.NetworkView{lan, local}, time.Time{}, false); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"NETWORK SCOPE STATE SUBNETS HOSTS CONTAINERS",
		"lan global active - 0/3 0", "own local active 10.0.0.0/24 0/1 1", "own on h2: no usable parent interface",
	}
	if diff := cmp.Diff(want, clitest.Lines(out.String())); diff != "" {
		t.Errorf("network ls (-want +got):\n%s", diff)
	}
}

// TestReservedOfANetwork: how many addresses are reserved is told where some are.
func TestReservedOfANetwork(t *testing.T) {
	for reserved, want := range map[int]string{0: "", 3: "3 by operators (gvlan lease ls --network lan)"} {
		var out strings.Builder
		if err := printNetwork(&out, api.NetworkView{Name: "lan", Scope: "global", Reserved: reserved}, time.Time{}, false); err != nil {
			t.Fatal(err)
		}
		if says := strings.Contains(out.String(), "reserved"); says != (want != "") || !strings.Contains(out.String(), want) {
			t.Errorf("of %d, inspect prints\n%s", reserved, out.String())
		}
	}
}

// TestAgeOfNetworks: what etcd said last is shown with how long ago.
func TestAgeOfNetworks(t *testing.T) {
	asOf := time.Unix(1_000_000, 0)
	view := api.NetworkView{Name: "lan", Scope: "global", AsOf: asOf, Hosts: []api.NetworkHost{{
		Node: "id1", Host: "h1", State: "committed", Connected: true, Endpoints: []api.EndpointView{{Container: "web", IPv4: "10.0.0.2/24"}},
	}}}
	var list, inspect strings.Builder
	now := asOf.Add(90 * time.Second)
	if err := networkList().Print(&list, []api.NetworkView{view}, now, false); err != nil {
		t.Fatal(err)
	}
	if err := printNetwork(&inspect, view, now, false); err != nil {
		t.Fatal(err)
	}
	const age = "etcd does not answer this host: this is what it said 90 seconds ago\n"
	if out := list.String(); !strings.HasPrefix(out, "etcd does not answer this host: this is what it said ") || !strings.Contains(out, "1/1") {
		t.Errorf("ls prints\n%s", out)
	}
	if out := inspect.String(); !strings.HasPrefix(out, age) || !strings.Contains(out, "connected") || !strings.Contains(out, "10.0.0.2/24") {
		t.Errorf("inspect prints\n%s", out)
	}
}

// TestRemovedBesideOneOfAHost: what another host has of that name is not what was
// removed.
func TestRemovedBesideOneOfAHost(t *testing.T) {
	own := api.NetworkView{Name: "lan", UUID: "u2", Scope: "local", State: "active", Hosts: []api.NetworkHost{{Node: "id2", State: "local"}}}
	socket := clitest.Agent(t, clitest.Answers{"DELETE " + api.NetworkRoute: struct{}{}, "GET " + api.NetworksRoute: []api.NetworkView{own}})
	if diff := cmp.Diff(clitest.Typed{Out: "lan\n"}, clitest.Type(t, New(), socket, "rm", "lan")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLooksGrowRare: the first come soon, and none is longer ago than a person minds.
func TestLooksGrowRare(t *testing.T) {
	for looks, want := range map[int]time.Duration{0: 100 * time.Millisecond, 2: 400 * time.Millisecond, 5: 2 * time.Second, 1000: 2 * time.Second} {
		if got := lookAgain(looks); got != want {
			t.Errorf("after %d looks the next is %s later, want %s", looks, got, want)
		}
	}
}
