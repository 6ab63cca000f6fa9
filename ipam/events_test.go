package ipam

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
)

func (h *host) toldOf(kinds ...events.Kind) (said []string) {
	for _, e := range h.told.Of(kinds...) {
		said = append(said, fmt.Sprintf("%s %s %s", e.Kind, e.Address, e.Network))
	}
	return said
}

// TestGivenAndReleasedAreTold once for each address that a container has, and
// not of what no container ever had.
func TestGivenAndReleasedAreTold(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/24", "fd00::/64").define("lan")
		web := n.mustRun("web", "10.0.0.7")
		h.must(web.bind("web")) // an engine that lost the answer asks again
		if _, err := n.run("thief", "10.0.0.7"); err == nil {
			t.Error("one address was given twice")
		}
		web.stop()
		asked, err := h.RequestAddress(h.ctx(), AddressRequest{PoolID: n.ids[0]})
		h.must(err)
		h.must(h.ReleaseAddress(h.ctx(), n.ids[0], asked.Addr().String()))
		v6 := web.addrs[1].Addr().String()
		want := []string{"given 10.0.0.7 lan", "given " + v6 + " lan", "released 10.0.0.7 lan", "released " + v6 + " lan"}
		if diff := cmp.Diff(want, h.toldOf()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// TestReleasedIsToldWhenItIs: an address is free when the store says so.
func TestReleasedIsToldWhenItIs(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/24").define("lan")
		web := n.mustRun("web", "10.0.0.7")
		h.ready()
		h.down()
		web.stop()
		if got := h.toldOf(events.Released); len(got) != 0 {
			t.Errorf("told %q while the store was away", got)
		}
		h.up()
		h.waitFor("the release is told", func() bool { return len(h.toldOf(events.Released)) == 1 })
	})
}

// TestConflictIsTold with who has the address.
func TestConflictIsTold(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n, far := c.host("h1").mustCreate("10.0.0.0/24"), c.host("h2").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "10.0.0.7")
		n.h.ready()
		n.h.down()
		c.wipe(store.LeasesSpan("default", mustPrefix("10.0.0.7/32")))
		far.mustRun("winner", "10.0.0.7")
		n.h.up()
		n.h.waitFor("the conflict is told", func() bool { return len(n.h.told.Of(events.Conflict)) > 0 })
		got := n.h.told.Of(events.Conflict)
		if len(got) != 1 || got[0].Endpoint != web.endpoint || !strings.HasPrefix(got[0].Text, "in use by container winner on node h2") {
			t.Errorf("told %+v", got)
		}
		web.stop()
	})
}
