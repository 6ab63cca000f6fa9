package driver

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/events"
)

func (h *machine) toldOf(kinds ...events.Kind) (said []string) {
	for _, e := range h.told.Of(kinds...) {
		said = append(said, fmt.Sprintf("%s %s", e.Kind, e.Network))
	}
	return said
}

// TestNetworksAreTold by the one host that made or removed their definition.
func TestNetworksAreTold(t *testing.T) {
	c := newCluster(t)
	h1, h2 := c.host("h1"), c.host("h2")
	h1.create(lan("lan", "10.0.0.0/24"))
	h2.replica("lan")
	h1.rm("lan")
	c.pass(time.Minute)
	h2.lacks("lan")
	c.eventually("the network is removed", func() bool { return len(h1.toldOf(events.NetworkRemoved))+len(h2.toldOf(events.NetworkRemoved)) > 0 })
	kinds := []events.Kind{events.NetworkMade, events.NetworkRemoved}
	if diff := cmp.Diff([]string{"network-made lan", "network-removed lan"}, append(h1.toldOf(kinds...), h2.toldOf(kinds...)...)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestNamesAreTold once Docker says what a container is called.
func TestNamesAreTold(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan", "10.0.0.0/24"))
	h.replica("lan")
	ct := h.run("web", "lan")
	h.d.Containers.Refresh() // here a container is told of before its endpoint is made
	c.eventually("the name is told", func() bool {
		return slices.ContainsFunc(h.told.Of(events.Named), func(e events.Event) bool { return e.Container == "web" })
	})
	given, named := h.told.Of(events.Given), h.told.Of(events.Named)
	if len(given) != 1 || given[0].Endpoint != ct.endpoint || given[0].MAC == "" || given[0].Network != "lan" {
		t.Errorf("given: %+v", given)
	}
	if last := named[len(named)-1]; last.Endpoint != ct.endpoint || last.Container != "web" {
		t.Errorf("named: %+v", named)
	}
}
