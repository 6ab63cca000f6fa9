package nodes

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/facts"
)

// TestHostIsOneRow: two agents of one host are one row of the nodes.
func TestHostIsOneRow(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	one, two := 1, 2
	card := func(user string) []store.Interface {
		return []store.Interface{{Name: "eth1", Kind: "device", Up: true, MTU: 1500, UsedBy: []string{user}}}
	}
	hosts := api.HostViews([]api.NodeView{
		{Node: "id1", Host: "h1", Address: "10.0.0.1", State: "ready", Since: now.Add(-time.Minute), Version: "2.0", Epoch: 3, Endpoints: &one, Interfaces: card("lan"), Networks: []store.NodeNetwork{{Name: "lan", State: "replica"}}},
		{Node: "id1.swarm", Host: "h1", Address: "10.0.0.1", State: "down", Since: now.Add(-time.Second), Version: "1.0", Epoch: 7, Endpoints: &two, Interfaces: card("office"), Networks: []store.NodeNetwork{{Name: "office", State: "swarm"}}},
		{Node: "id2.swarm", Host: "h2", Address: "10.0.0.2", State: "ready", Since: now.Add(-time.Minute), Version: "2.0", Endpoints: &two},
	})
	var out strings.Builder
	if err := nodeList().Print(&out, hosts, now, true); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"NODE STATE FOR ADDRESS CONTAINERS PARENTS NETWORKS VERSION AGENTS NODE ID",
		"h1 ready; swarm: down 1 second 10.0.0.1 3 eth1 2 2.0; swarm: 1.0 socket,swarm id1",
		"h2 ready 1 minute 10.0.0.2 2 - 0 2.0 swarm id2.swarm",
	}
	if diff := cmp.Diff(want, clitest.Lines(out.String())); diff != "" {
		t.Errorf("node ls prints (-want +got):\n%s", diff)
	}

	for _, name := range []string{"h1", "id1", "id1.swarm"} {
		v, err := facts.HostCalled(hosts, name)
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := printNode(&out, v, now, true); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"node h1 (id id1, address 10.0.0.1)", "state ready for 1 minute", "agent socket, gvlan 2.0, epoch 3",
			"node h1 (id id1.swarm, address 10.0.0.1)", "state down for 1 second", "agent swarm, gvlan 1.0, epoch 7",
			"INTERFACE STATE ADDRESSES OF USED BY KIND MTU VLAN", "eth1 up - - lan,office device 1500 -",
			"NETWORK STATE PARENT NOW LINKS WHY", "lan ready - - -", "office ready - - -",
		}
		if diff := cmp.Diff(want, clitest.Lines(out.String())); diff != "" {
			t.Errorf("node inspect %s prints (-want +got):\n%s", name, diff)
		}
	}
	if _, err := facts.HostCalled(hosts, "h3"); err == nil {
		t.Error("node inspect knows a host that is not there")
	}
}
