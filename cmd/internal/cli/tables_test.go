package cli

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/dns/zone"
	"gvlan/driver/command"
	"gvlan/ipam/evict"
)

var update = flag.Bool("update", false, "write testdata/tables anew")

// ago is a time whose age is in the middle of what Span says of it.
func ago(d time.Duration) time.Time { return time.Now().Add(-d - time.Second/2) }

// rack is what an agent of an ordinary cluster answers.
func rack() clitest.Answers {
	endpoint := func(container, v4, v6, mac string) api.EndpointView {
		return api.EndpointView{Container: container, IPv4: v4, IPv6: v6, MAC: mac, Parent: "eno1"}
	}
	lan := api.NetworkView{
		Name: "lan", UUID: "6f1c3a52-0f3e-4b0e-9a55-3a2a1cf0a001", Scope: "global", State: "active", Origin: "id1", Segment: "default",
		Options:   map[string]string{"parent": "eno1, eth0"},
		Pools:     []store.Pool{{Subnet: netip.MustParsePrefix("192.168.1.0/24"), Range: netip.MustParsePrefix("192.168.1.128/25"), Gateway: netip.MustParseAddr("192.168.1.1")}},
		Overrides: store.Overrides{Exclude: []string{"192.168.1.200-192.168.1.210"}, Cooldown: "30s"},
		Hosts: []api.NetworkHost{
			{Node: "id1", Name: "rack1-node1", Host: "rack1-node1", Connected: true, State: "committed", Engine: "0123456789ab", Parent: "eno1", Endpoints: []api.EndpointView{endpoint("web", "192.168.1.128/24", "", "02:42:c0:a8:01:80")}},
			{Node: "id2", Name: "rack1-node2", Host: "rack1-node2", Connected: true, State: "replica", Engine: "123456789abc", Parent: "eth0", Endpoints: []api.EndpointView{endpoint("database", "192.168.1.129/24", "", "02:42:c0:a8:01:81")}},
			{Node: "id3", Name: "rack1-node3", Host: "rack1-node3", State: "missing"},
		},
	}
	office := api.NetworkView{
		Name: "office65", UUID: "6f1c3a52-0f3e-4b0e-9a55-3a2a1cf0a002", Scope: "global", State: "removing", Origin: "id2", Segment: "vlan65",
		Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.65.0.0/16")}, {Subnet: netip.MustParsePrefix("fd65::/64")}},
		Hosts: []api.NetworkHost{
			{Node: "id1", Name: "rack1-node1", Connected: true, State: "orphaned", Why: "containers here still refer to it"},
			{Node: "id2", Name: "rack1-node2", Connected: true, State: "conflict", Why: "node rack1-node1 defined a different network of this name first", Links: []string{"eno1.65"}},
		},
	}
	own := api.NetworkView{
		Name: "own", UUID: "6f1c3a52-0f3e-4b0e-9a55-3a2a1cf0a003", Scope: "local", State: "active", Origin: "id2", Segment: "default", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("172.30.0.0/24")}},
		Hosts: []api.NetworkHost{{Node: "id2", Name: "rack1-node2", Connected: true, State: "local"}},
	}
	three, none := 3, 0
	return clitest.Answers{
		"GET " + api.NetworksRoute: []api.NetworkView{lan, office, own}, "GET " + api.NetworkRoute: lan,
		"POST " + api.NetworksRoute: command.Defined{Warnings: []string{"this agent is solo"}},
		"GET " + api.NodesRoute: []api.NodeView{
			{Node: "id1", Name: "rack1-node1", Host: "rack1-node1", Address: "192.168.1.11", State: "ready", Since: ago(3 * 24 * time.Hour), Version: "v1.4.0", Epoch: 7, Endpoints: &three,
				Interfaces: []store.Interface{{Name: "eno1", Kind: "device", Up: true, MTU: 1500, Addresses: []string{"192.168.1.11/24"}, UsedBy: []string{"lan", "office65"}}, {Name: "eno1.65", Kind: "vlan", Up: true, MTU: 1500, Parent: "eno1", VLAN: 65}},
				Networks:   []store.NodeNetwork{{Name: "lan", State: "committed", Parent: "eno1"}, {Name: "office65", State: "seen"}}},
			{Node: "id2", Name: "rack1-node2", Host: "rack1-node2", Address: "192.168.1.12", State: "unreachable-by-peers", Since: ago(5 * time.Minute), Version: "v1.4.0", Endpoints: &none},
			{Node: "id3", Name: "rack1-node3", Host: "rack1-node3", Address: "192.168.1.13", State: "down", Since: ago(90 * time.Minute), Version: "v1.3.2", Stopped: true},
		},
		"GET " + api.MembersRoute: []api.MemberView{
			{Node: "id1", Name: "rack1-node1", Address: "192.168.1.11:7947", Gossip: "alive", Etcd: "connected", Since: ago(3 * 24 * time.Hour), Direct: ago(4 * time.Minute), RTT: 420 * time.Microsecond, Applied: 1234},
			{Node: "id2", Name: "rack1-node2", Address: "192.168.1.12:7947", Gossip: "failed", Etcd: "connected", Since: ago(5 * time.Minute), Applied: 1230},
			{Node: "id3", Name: "rack1-node3", Etcd: "away"},
		},
		"GET " + api.StoreRoute: api.StoreView{
			Standing: "cluster",
			Members: []api.StoreMember{
				{Node: "id1", Host: "rack1-node1", Address: "192.168.1.11:2379", Role: "leader", Size: 5 << 20}, {Node: "id2", Host: "rack1-node2", Address: "192.168.1.12:2379", Role: "learner", Lag: 12, Why: "does not answer"},
			},
			Hosts:    []api.StoreHost{{Node: "id3", Host: "rack1-node3", Why: "not connected"}},
			Warnings: []string{"the disk of rack1-node1 is nearly full"},
		},
		"GET " + api.NamesRoute: []api.NameView{
			{Record: zone.Record{Name: "web", Network: "lan", Node: "id1", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.128"), netip.MustParseAddr("fd00:1::80")}}, Host: "rack1-node1"},
			{Record: zone.Record{Name: "database", Network: "", Node: "id2", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.129")}}, Host: "rack1-node2"},
		},
		"GET " + api.BGPRoute: api.BGPView{AS: 65001, Sessions: []api.BGPSession{
			{Peer: "192.168.1.1", AS: 65000, Password: true, State: "established", Since: ago(26 * time.Hour), Announced: 12, Received: 840, Accepted: 3},
			{Peer: "[fd00:192:168:1::1]:1179", AS: 4200000001, State: "active", Since: ago(5 * time.Minute), Wrong: "no connection to its port 1179: i/o timeout; if the peer answers otherwise, it expects a password of this host"},
		}},
		"GET " + api.DoubtsRoute: []string{"web is the name of two containers"},
		"GET " + api.CountsRoute: []api.NameCounts{{Zone: "lan.gvlan.internal.", Codes: map[string]uint64{"NOERROR": 812, "NXDOMAIN": 3}}},
	}
}

// TestTables: what people see of an ordinary cluster is in testdata/tables, and
// fits 80 columns without --wide. Written by
//
//	go test ./cmd/internal/cli -run TestTables -update
func TestTables(t *testing.T) {
	socket := clitest.Agent(t, rack())
	for name, args := range map[string]string{
		"network-ls": "network ls", "network-ls-wide": "network ls --wide", "network-ls-format": "network ls --format {{.Name}}/{{.Segment}}", "network-ls-q": "network ls -q",
		"network-inspect": "network inspect lan", "network-inspect-wide": "network inspect --wide lan", "network-create": "network create lan",
		"node-ls": "node ls", "node-ls-wide": "node ls --wide", "node-inspect": "node inspect rack1-node1", "node-inspect-wide": "node inspect --wide rack1-node1",
		"members": "members", "members-wide": "members --wide", "store-ls": "store ls", "store-ls-wide": "store ls --wide", "dns-ls": "dns ls", "bgp": "bgp", "bgp-wide": "bgp --wide", "bgp-q": "bgp -q", "dns-counts": "dns counts",
	} {
		t.Run(name, func(t *testing.T) {
			got := typed(t, append(strings.Fields(args), "--status-socket", socket)...)
			if got.Status != frame.Well {
				t.Fatalf("gvlan %s: %+v", args, got)
			}
			shown := got.Out
			if got.Err != "" {
				shown += "-- stderr --\n" + got.Err
			}
			for line := range strings.Lines(shown) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.Contains(name, "wide") && !strings.Contains(line, " on rack1-") && !strings.HasPrefix(line, "[fd00:192:168:1::1]:1179: ") {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			golden := filepath.Join("testdata", "tables", name+".golden")
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(shown), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), shown); diff != "" {
				t.Errorf("gvlan %s (-want +got):\n%s", args, diff)
			}
		})
	}
}

// TestJSONOfOneAnswer: what is no list has --json too.
func TestJSONOfOneAnswer(t *testing.T) {
	answers := rack()
	answers["POST "+api.EvictRoute] = evict.Taken{Leases: 3}
	answers["POST "+api.RecoverRoute] = api.Recovered{Cluster: "c1"}
	answers["GET "+api.LookupRoute] = api.Looked{Answer: "web. 0 IN A 192.168.1.128\n", Known: true}
	socket := clitest.Agent(t, answers)
	for args, want := range map[string]string{
		"version": `"version": "v1"`, "network create lan": `"name": "rack1-node1"`, "node evict rack1-node3": `"leases": 3`, "recover": `"cluster": "c1"`, "dns lookup web": `"known": true`,
	} {
		words := append(strings.Fields(args), "--json")
		if args != "version" {
			words = append(words, "--status-socket", socket)
		}
		if got := typed(t, words...); got.Status != frame.Well || !json.Valid([]byte(got.Out)) || !strings.Contains(got.Out, want) {
			t.Errorf("gvlan %s --json: %+v, want %s in it", args, got, want)
		}
	}
}

// TestStoreAway: the members that the host saw last are shown as such.
func TestStoreAway(t *testing.T) {
	socket := clitest.Agent(t, clitest.Answers{"GET " + api.StoreRoute: api.StoreView{
		Standing: "cluster", AsOf: ago(3 * time.Minute), Members: []api.StoreMember{{Node: "id1", Host: "h1", Role: "voter", Address: "192.168.1.11:2379"}},
	}})
	want := "NODE   ROLE    ADDRESS             BEHIND   SIZE   NOTE\nh1     voter   192.168.1.11:2379   0        -      -\n\n" +
		"the store does not answer this host: these are the members it saw last, 3 minutes ago\n"
	if diff := cmp.Diff(clitest.Typed{Out: want}, typed(t, "store", "ls", "--status-socket", socket)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEmptyLists: there is nothing yet, which is said on stderr; --json is a list.
func TestEmptyLists(t *testing.T) {
	answers := clitest.Answers{}
	for route, nothing := range map[string]any{
		api.NetworksRoute: []api.NetworkView(nil), api.NodesRoute: []api.NodeView(nil), api.MembersRoute: []api.MemberView(nil), api.NamesRoute: []api.NameView(nil),
		api.DoubtsRoute: []string(nil), api.CountsRoute: []api.NameCounts(nil),
	} {
		answers["GET "+route] = nothing
	}
	socket := clitest.Agent(t, answers)
	for _, args := range []string{"network ls", "node ls", "members", "dns ls", "dns counts"} {
		words := append(strings.Fields(args), "--status-socket", socket)
		if got := typed(t, words...); got.Status != frame.Well || got.Out != "" || got.Err == "" {
			t.Errorf("gvlan %s: %+v, want what there is not on stderr", args, got)
		}
		if got := typed(t, append(words, "--json")...); got.Status != frame.Well || got.Out != "[]\n" {
			t.Errorf("gvlan %s --json: %+v, want []", args, got)
		}
		if got := typed(t, append(words, "-q")...); got.Status != frame.Well || got.Out != "" {
			t.Errorf("gvlan %s -q: %+v, want nothing", args, got)
		}
	}
}
