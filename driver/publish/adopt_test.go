package publish

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

// An endpoint is taken back as the store has it, if the engine says the same
// of it: one whose address changed hands meanwhile is another.
func TestRestoredEndpoint(t *testing.T) {
	rec := store.Endpoint{
		Endpoint: "e1", IPv4: "10.0.0.2/24", IPv6: "fd00::2/64", MAC: "02:42:0a:00:00:02",
		Link: "gv-e1", Parent: "eth1", Sandbox: "/old", Since: 7,
	}
	c := engine.ContainerDetail{Container: engine.Container{ID: "c1", Name: "web"}, SandboxKey: "/var/run/docker/netns/c1"}
	a := engine.Attachment{
		NetworkID: "n1", EndpointID: "e1",
		IPv4: netip.MustParsePrefix("10.0.0.2/24"), IPv6: netip.MustParsePrefix("fd00::2/64"),
	}
	got, same := restoredEndpoint(rec, c, a)
	want := journal.Endpoint{
		ID: "e1", Network: "n1", IPv4: a.IPv4, IPv6: a.IPv6, MAC: "02:42:0a:00:00:02", Link: "gv-e1", Parent: "eth1",
		Sandbox: "/var/run/docker/netns/c1", Since: 7000, Container: store.Container{ID: "c1", Name: "web"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || !same {
		t.Errorf("restored (same: %v) (-want +got):\n%s", same, diff)
	}
	for name, other := range map[string]engine.Attachment{
		"another IPv4": {EndpointID: "e1", IPv4: netip.MustParsePrefix("10.0.0.3/24"), IPv6: a.IPv6},
		"no IPv6":      {EndpointID: "e1", IPv4: a.IPv4},
	} {
		if _, same := restoredEndpoint(rec, c, other); same {
			t.Errorf("%s passes for the endpoint of the record", name)
		}
	}
}
