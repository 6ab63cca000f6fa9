package driver

import (
	"net/netip"
	"testing"

	"gvlan/driver/engine/enginetest"
)

// TestRoutersAreGivenLast: the address of a router that containers' routes go by is
// given to the container that asks for it, and to another one when no other is free.
func TestRoutersAreGivenLast(t *testing.T) {
	c := newCluster(t)
	h1, h2 := c.host("h1"), c.host("h2")
	h1.create(lan("lan1", "10.0.1.0/29", with("routes", "10.9.0.0/16 via 10.0.1.2, 10.8.0.0/16 via 10.0.1.3")))
	for _, h := range []*machine{h1, h2} {
		h.replica("lan1")
		h.settle()
	}
	router := h1.run("router", "lan1", func(s *enginetest.ContainerSpec) { s.Settings.IPv4 = netip.MustParseAddr("10.0.1.2") })
	for i, want := range []string{"10.0.1.4", "10.0.1.5", "10.0.1.6", "10.0.1.3"} {
		if got := []*machine{h2, h1}[i%2].run("web"+want, "lan1").address(); got != want {
			t.Errorf("container %d has %s, want %s", i+1, got, want)
		}
	}
	if got := router.address(); got != "10.0.1.2" {
		t.Errorf("the router has %s", got)
	}
}
