package driver

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gvlan/driver/link"
	"gvlan/driver/route"
	"gvlan/driver/route/routetest"
	"gvlan/driver/visible"
)

// reach is a host whose card has an address, and what it has of host access.
type reach struct{ *machine }

func (h reach) addressed() {
	h.routes.SetAddresses(route.Address{Link: "eth1", Prefix: netip.MustParsePrefix("10.1.0.1/16")})
}

// enter makes the namespace of a container, with its link in place.
func (h reach) enter(ct *container) *routetest.Kernel {
	k := routetest.New(func() []string { return []string{"eth0"} })
	k.SetAddresses(route.Address{Link: "eth0", Prefix: ct.addresses[0].address})
	h.inside.Store(filepath.Join(h.dir, "/var/run/docker/netns/"+visible.ID(ct.endpoint)), k)
	return k
}

// has waits until there are so many shims, and routes and neighbours of the host's,
// and neighbours in the container.
func (h reach) has(what string, shims, routes, neighbours int, in *routetest.Kernel, inside int) {
	h.Helper()
	h.eventually(what, func() bool {
		h.routes.Links() // what netlink tells of
		here, err := h.routes.Ours(context.Background())
		h.must(err)
		there, err := in.Ours(context.Background())
		h.must(err)
		return len(h.shims()) == shims && len(here.Routes) == routes && len(here.Neighbours) == neighbours && len(there.Neighbours) == inside
	})
}

func (h reach) shims() []string {
	h.Helper()
	return slices.DeleteFunc(h.ours(), func(name string) bool { return !strings.HasPrefix(name, "gvs-") })
}

// TestHostAccess: what a network wants is there while containers are, whatever takes
// it away, and nothing is left where nobody wants it.
func TestHostAccess(t *testing.T) {
	c := newCluster(t)
	h := reach{c.host("h1")}
	h.addressed()
	h.create(lan("lan1", "10.1.0.0/16", with("host-access", "on")))
	h.replica("lan1")
	web := h.run("web", "lan1")
	in := h.enter(web)
	h.has("host access to a container", 1, 1, 1, in, 1)
	h.routes.Lose()
	in.Lose()
	h.restart() // who looks into containers again
	h.has("it back after an end of the agent", 1, 1, 1, in, 1)
	h.must(h.links.Remove(t.Context(), h.shims()[0]))
	h.has("it back after the end of the shim", 1, 1, 1, in, 1)
	h.must(h.d.Set(t.Context(), "lan1", []string{"host-access=off"}))
	h.has("nothing once it is off", 0, 0, 0, in, 0)
	h.must(h.d.Set(t.Context(), "lan1", []string{"host-access=on"}))
	h.has("it once it is on", 1, 1, 1, in, 1)
	web.stop()
	h.has("nothing without a container", 0, 0, 0, in, 1) // whose namespace is gone
	web.remove()

	in = h.enter(h.run("web", "lan1"))
	h.has("host access to the next container", 1, 1, 1, in, 1)
	h.links.Unplug("eth1")
	h.has("nothing without the card", 0, 0, 0, in, 1)
	h.links.Add(link.Interface{Name: "eth1", Up: true})
	h.has("it back with the card", 1, 1, 1, in, 1)
}

// TestHostAccessByDefault: a network that says nothing has what its agent is set to,
// and after a start without it nothing is left. One whose links leave no way has none,
// and that is said.
func TestHostAccessByDefault(t *testing.T) {
	c := newCluster(t)
	h := reach{c.host("h1")}
	h.addressed()
	h.access = true
	h.restart()
	h.create(lan("lan1", "10.1.0.0/16"))
	h.create(lan("apart", "10.2.0.0/16", with("macvlan_mode", "private")))
	h.replica("lan1")
	h.replica("apart")
	in, other := h.enter(h.run("web", "lan1")), h.enter(h.run("alone", "apart"))
	h.has("host access to one of them", 1, 1, 1, in, 1)
	if has, err := other.Ours(t.Context()); err != nil || len(has.Neighbours) > 0 {
		t.Errorf("the private container has %v, %v", has, err)
	}
	if said := strings.Join(h.d.Hints(), "\n"); !strings.Contains(said, "network apart") || !strings.Contains(said, "private") || strings.Contains(said, "lan1") {
		t.Errorf("the hints are %q, want one of the private network", said)
	}
	h.access = false
	h.restart()
	h.has("nothing after a start without it", 0, 0, 0, in, 0)
}

// TestHostAccessStaysOut: nobody goes into a container of a network that does not want
// it, on its way up least of all; after a start of the agent once.
func TestHostAccessStaysOut(t *testing.T) {
	c := newCluster(t)
	h := reach{c.host("h1")}
	h.addressed()
	h.create(lan("plain", "10.2.0.0/16"))
	h.create(lan("lan1", "10.1.0.0/16", with("host-access", "on")))
	h.replica("plain")
	h.replica("lan1")
	entered := func(ct *container) bool {
		_, was := h.entered.Load(filepath.Join(h.dir, "/var/run/docker/netns/"+visible.ID(ct.endpoint)))
		return was
	}
	first := h.run("first", "lan1")
	h.has("host access to a container", 1, 1, 1, h.enter(first), 1)
	plain := h.run("plain", "plain")
	h.enter(plain)
	in := h.enter(h.run("web", "lan1"))
	h.has("host access to the next one", 1, 2, 2, in, 1)
	if entered(plain) {
		t.Error("it went into a container that does not want it")
	}
	h.restart()
	h.eventually("a look into all containers", func() bool { return entered(plain) && entered(first) })
}

// TestHostAccessIsTold: what stands in the way is named, and containers start.
func TestHostAccessIsTold(t *testing.T) {
	c := newCluster(t)
	h := reach{c.host("h1")}
	h.create(lan("lan1", "10.1.0.0/16", with("host-access", "on")))
	h.replica("lan1")
	h.run("web", "lan1")
	says := func(words string) func() bool {
		return func() bool { return strings.Contains(strings.Join(h.d.Warnings(), "\n"), words) }
	}
	c.eventually("the host's lack of an address is told", says("network lan1 does not work on h1"))
	h.routes.Other(route.Route{Dst: netip.MustParsePrefix("10.1.0.2/32"), Link: "eth1"})
	h.addressed()
	c.eventually("the other route is told", says("10.1.0.2/32 dev eth1"))
}

// TestHostAccessMakesWay: a container of a kind that cannot be beside the shim starts
// at once, whatever the shim's keeper does.
func TestHostAccessMakesWay(t *testing.T) {
	c := newCluster(t)
	h := reach{c.host("h1")}
	h.addressed()
	h.create(lan("lan1", "10.1.0.0/16", with("host-access", "on")))
	h.create(layer3("lan2", "10.2.0.0/16", with("host-access", "on")))
	h.replica("lan1")
	h.replica("lan2")
	for range 5 {
		web := h.run("web", "lan1")
		in := h.enter(web)
		h.has("host access to a macvlan container", 1, 1, 1, in, 1)
		web.stop()
		web.remove()
		next := h.run("next", "lan2")
		h.has("host access to an ipvlan container", 1, 1, 0, h.enter(next), 0)
		next.stop()
		next.remove()
	}
}

// TestHostAccessWatches: the kernel is followed while a network wants host access, and
// not where none does.
func TestHostAccessWatches(t *testing.T) {
	c := newCluster(t)
	h := reach{c.host("h1")}
	h.addressed()
	h.create(lan("lan1", "10.1.0.0/16"))
	h.replica("lan1")
	watched := func(n int) func() bool { return func() bool { return h.routes.Watched() == n } }
	h.eventually("nothing to be watched", watched(0))
	in := h.enter(h.run("web", "lan1"))
	h.eventually("nothing to be watched still", watched(0))
	for range 2 {
		h.must(h.d.Set(t.Context(), "lan1", []string{"host-access=on"}))
		h.has("host access to a container", 1, 1, 1, in, 1)
		h.eventually("the kernel to be watched", watched(1))
		h.routes.Lose()
		h.has("what was lost", 1, 1, 1, in, 1)
		h.must(h.d.Set(t.Context(), "lan1", []string{"host-access=off"}))
		h.has("nothing once it is off", 0, 0, 0, in, 0)
		h.eventually("nothing to be watched again", watched(0))
	}
}

// TestHostAccessToFixedAddresses: the host reaches what a container has besides, while
// it has that.
func TestHostAccessToFixedAddresses(t *testing.T) {
	all, _ := fixedOn(t, "h1")
	h := reach{all[0]}
	h.routes.SetAddresses(route.Address{Link: "eth1", Prefix: netip.MustParsePrefix("10.0.0.200/24")})
	h.must(h.d.Set(t.Context(), "lan", []string{"host-access=on"}))
	one := h.run("one", "lan", wants())
	in := h.enter(one)
	one.has()
	h.has("host access to both addresses", 1, 2, 2, in, 1)
	two := h.run("two", "lan", wants())
	h.enter(two)
	two.waits("in use by")
	h.has("host access to three addresses", 1, 3, 3, in, 1)
	leads := func() []string {
		here, err := h.routes.Ours(t.Context())
		h.must(err)
		var to []string
		for _, n := range here.Neighbours {
			if n.Address == fixedAt {
				to = append(to, n.MAC.String())
			}
		}
		return to
	}
	before := leads()
	one.leaves()
	two.has()
	h.eventually("the address to lead to who has it now", func() bool {
		now := leads()
		return len(now) == 1 && now[0] != before[0]
	})
	two.leaves()
}
