package driver

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/trouble"
	"gvlan/parentfile"
)

// TestWhatLastsIsTold: what has failed for a while is a warning that names the
// network as people do, but for what is told of otherwise.
func TestWhatLastsIsTold(t *testing.T) {
	h := newCluster(t).host("h1")
	id := h.create(lan("lan1", "10.1.0.0/16"))
	h.replica("lan1")
	asking := trouble.Matter{What: "asking the LAN", Of: id, Then: "they are given without"}
	none := trouble.Matter{What: "describing"}
	h.addresses.Failing().Tell(asking, errors.New("no such device"))
	h.d.Troubles.Tell(none, errors.New("the disk is full"))
	for _, about := range []struct {
		of  string
		err error
	}{
		{id, fmt.Errorf("write: %w", store.ErrUnavailable)},
		{id, fmt.Errorf("write: %w", store.ErrSuspect)},
		{id, fmt.Errorf("look: %w", engine.ErrUnavailable)},
		{id, fmt.Errorf("make: %w", &parentfile.NoParentError{})},
		{"a network that is no more", errors.New("it is gone")},
	} {
		h.d.Troubles.Tell(trouble.Matter{What: about.err.Error(), Of: about.of}, about.err)
	}
	h.clock.advance(29 * time.Second)
	h.warns()
	h.clock.advance(2 * time.Second)
	h.warns("describing fails, and is tried again: the disk is full", "network lan1: asking the LAN fails, and is tried again: no such device; until then they are given without")
	h.d.Troubles.Over(none)
	h.warns("network lan1: asking the LAN fails, and is tried again: no such device; until then they are given without")
	h.addresses.Failing().Over(asking)
	h.warns()
}

// warns expects exactly these warnings.
func (h *machine) warns(want ...string) {
	h.Helper()
	if diff := cmp.Diff(want, h.d.Warnings()); diff != "" {
		h.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestUnheededAdvertisementsAreTold: ipv6-ra= that cannot be set in a container is a
// warning once Docker had time to bring the interface in, until the container stops.
func TestUnheededAdvertisementsAreTold(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.1.0.0/16", with("ipv6-ra", "off"), func(r *engine.NetworkRequest) {
		r.IPv6 = true
		r.IPAM.Pools = append(r.IPAM.Pools, engine.Pool{Subnet: netip.MustParsePrefix("fd00::/64")})
	}))
	h.replica("lan1")
	web := h.run("web", "lan1") // whose namespace is nowhere
	h.d.Containers.Refresh()    // here a container is told of before its endpoint is made
	h.published("its name", web, func(c store.Container) bool { return c.Name == "web" })
	h.warns()
	h.eventually("it is told", func() bool {
		h.clock.advance(10 * time.Second)
		return len(h.d.Warnings()) > 0
	})
	said := h.d.Warnings()
	h.wantErr(errors.New(said[0]), "network lan1: ipv6-ra=off cannot be set in container web", "no such file", "as its kernel does")
	h.warns(said[0])
	web.stop()
	h.warns()
}
