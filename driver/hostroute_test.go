package driver

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/hostroute"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/route"
)

// routed are hosts on one LAN, whose cards have addresses.
func (c *cluster) routed(names ...string) (all []*machine) {
	c.Helper()
	for i, name := range names {
		h := c.host(name)
		h.card(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
		all = append(all, h)
	}
	for _, h := range all {
		for _, name := range names {
			h.eventually("it knows the card of "+name, func() bool {
				node, ok := h.d.Tables.Nodes.Row(store.NodeKey(name))
				return ok && len(hostroute.On(node.Record, "eth1", true)) > 0
			})
		}
	}
	return all
}

// card gives the host's card an address.
func (h *machine) card(address netip.Prefix) {
	h.links.Unplug("eth1")
	h.links.Add(link.Interface{Name: "eth1", Up: true, Addresses: []netip.Prefix{address}})
	h.routes.SetAddresses(route.Address{Link: "eth1", Prefix: address})
}

// leads waits until the host has these routes of ours that leave by no shim.
func (h *machine) leads(what string, want ...string) {
	h.Helper()
	var got []string
	defer func() {
		if h.Failed() {
			h.Logf("%s has %q", h.name, got)
		}
	}()
	h.eventually(h.name+": "+what, func() bool {
		here, err := h.routes.Ours(context.Background())
		h.must(err)
		got = nil
		for _, r := range here.Routes {
			if r.Link == "eth1" || r.Unreachable {
				got = append(got, r.String())
			}
		}
		return slices.Equal(got, want)
	})
}

// layer3 makes a network that routes, without blocks.
func layer3(name, subnet string, bend ...func(*engine.NetworkRequest)) engine.NetworkRequest {
	return lan(name, subnet, append(bend, with("ipvlan_mode", "l3"), func(r *engine.NetworkRequest) { r.IPAM.Options = map[string]string{"block": "off"} })...)
}

// TestHostRoutes: every host leads to the containers of the others, as they come, move
// and go, whatever takes a route away.
func TestHostRoutes(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2", "h3")
	h1, h2, h3 := hosts[0], hosts[1], hosts[2]
	h1.create(lan("flat", "10.4.0.0/16"))
	for _, h := range hosts {
		h.replica("flat")
		h.eventually("nothing is watched while no network routes", func() bool { return h.routes.Watched() == 0 })
	}
	h3.eventually("host access and routes had their first looks", func() bool { return h3.routes.Asked() >= 2 })
	looks := h3.routes.Asked()
	h2.run("other", "flat")
	h3.eventually("it hears of a container that it needs no route to", func() bool {
		heard := 0
		h3.d.Tables.Endpoints.Each(func(store.Row[store.Endpoint]) { heard++ })
		return heard > 0 && len(h3.d.Ways) == 0
	})
	if more := h3.routes.Asked() - looks; more > 0 {
		t.Errorf("it looked at its addresses %d times for that", more)
	}
	h1.create(layer3("net3", "10.3.0.0/16"))
	for _, h := range hosts {
		h.replica("net3")
	}
	h2.run("flat", "flat")
	web := h1.run("web", "net3", ip("10.3.0.9"))
	h2.leads("a route to a container of h1", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	h3.leads("a route to a container of h1", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	h1.leads("no route to its own")
	h1.eventually("host access to its own", func() bool {
		here, err := h1.routes.Ours(t.Context())
		h1.must(err)
		return len(here.Routes) == 1 && here.Routes[0].Dst == netip.MustParsePrefix("10.3.0.9/32") && strings.HasPrefix(here.Routes[0].Link, "gvs-")
	})

	h2.routes.Lose()
	h2.leads("it back after somebody took it", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	h2.restart()
	h2.leads("it after an end of the agent", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	h2.links.Unplug("eth1")
	h2.leads("none without the card")
	h2.links.Add(link.Interface{Name: "eth1", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}})
	h2.leads("it back with the card", "10.3.0.9/32 via 192.0.2.1 dev eth1")

	db := h3.run("db", "net3", ip("10.3.0.8"))
	h2.leads("routes to both", "10.3.0.8/32 via 192.0.2.3 dev eth1", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	listed := h2.d.Routes.List()
	if len(listed) != 2 || listed[0].Node != "h3" || listed[0].Why != hostroute.Container || listed[0].Since.IsZero() || listed[0].Wrong != "" {
		t.Errorf("the list has %+v", listed)
	}

	web.stop()
	web.remove()
	h2.leads("no route to what has gone", "10.3.0.8/32 via 192.0.2.3 dev eth1")
	db.stop()
	db.remove()
	h2.leads("none")
	h2.eventually("it is watched while the network is there", func() bool { return h2.routes.Watched() > 0 })
}

// TestMovedRoute: a container's address that goes to another host is led to there, and
// no third host is without a route to it for a moment.
func TestMovedRoute(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2", "h3")
	hosts[0].create(layer3("net3", "10.3.0.0/16"))
	for _, h := range hosts {
		h.replica("net3")
	}
	web := hosts[0].run("web", "net3", ip("10.3.0.9"))
	hosts[2].leads("a route to h1", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	// Both records are there, as while one host lets go and the other begins.
	later := store.Endpoint{Endpoint: "other", Node: "h2", Network: mustRow(c, "net3").UUID, Segment: "default", IPv4: "10.3.0.9/16", Parent: "eth1", Since: c.clock.now().Unix() + 1}
	hosts[1].write(store.Put(store.EndpointKey("h2", "other"), store.Encode(later)))
	hosts[2].leads("a route to h2", "10.3.0.9/32 via 192.0.2.2 dev eth1")
	if holes := hosts[2].routes.Holes(); len(holes) > 0 {
		t.Errorf("meanwhile there was no route to %v", holes)
	}
	web.stop()
}

func mustRow(c *cluster, name string) store.Network {
	c.Helper()
	n, ok := c.definition(name)
	if !ok {
		c.Fatalf("no definition of %s", name)
	}
	return n
}

// TestRoutesStayWithoutStore: what is there stays while the store is away or lost its
// past, and is looked after by what was known; after a start without a store nothing
// is touched.
func TestRoutesStayWithoutStore(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2")
	hosts[0].create(layer3("net3", "10.3.0.0/16"))
	hosts[0].replica("net3")
	hosts[1].replica("net3")
	hosts[0].run("web", "net3", ip("10.3.0.9"))
	const there = "10.3.0.9/32 via 192.0.2.1 dev eth1"
	hosts[1].leads("a route", there)
	hosts[1].wire.Down()
	hosts[1].routes.Lose()
	hosts[1].leads("it back without the store", there)
	hosts[1].stop()
	hosts[1].launch()
	hosts[1].routes.Links()
	hosts[1].leads("it after a start without the store", there)
	hosts[1].wire.Up()
	hosts[1].eventually("the store is back", hosts[1].trusted)
	hosts[1].leads("it with the store", there)
}

// TestRoutesStayWithoutJournal: an agent that lost its journal adopts its networks
// from the engine, and no route goes before.
func TestRoutesStayWithoutJournal(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2")
	hosts[0].create(layer3("net3", "10.3.0.0/16"))
	hosts[0].replica("net3")
	hosts[1].replica("net3")
	hosts[0].run("web", "net3", ip("10.3.0.9"))
	const there = "10.3.0.9/32 via 192.0.2.1 dev eth1"
	hosts[1].leads("a route", there)
	hosts[1].stop()
	hosts[1].must(os.Remove(filepath.Join(hosts[1].dir, "journal.db")))
	hosts[1].start()
	hosts[1].replica("net3")
	hosts[1].leads("it after the journal was lost", there)
	if holes := hosts[1].routes.Holes(); len(holes) > 0 {
		t.Errorf("meanwhile there was no route to %v", holes)
	}
}

// TestRoutesOff: by a network's option, and by the agent's setting, which also takes
// away what an earlier life made, and is told.
func TestRoutesOff(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2")
	hosts[0].create(layer3("net3", "10.3.0.0/16"))
	hosts[0].create(layer3("none3", "10.5.0.0/16", with("routes", "off")))
	for _, h := range hosts {
		h.replica("net3")
		h.replica("none3")
	}
	hosts[0].run("web", "net3", ip("10.3.0.9"))
	hosts[0].run("alone", "none3")
	hosts[1].leads("a route of the one", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	hosts[1].noRoutes = true
	hosts[1].restart()
	hosts[1].leads("none")
	hosts[0].eventually("its node says so", func() bool {
		node, ok := hosts[0].d.Tables.Nodes.Row(store.NodeKey("h2"))
		at := slices.IndexFunc(node.Record.Networks, func(n store.NodeNetwork) bool { return n.Name == "net3" })
		return ok && at >= 0 && node.Record.Networks[at].HostRoutes == "off: --routes off"
	})
}

// TestRouteInTheWay: what somebody else has to a container's address is not changed,
// and is named until it goes.
func TestRouteInTheWay(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2")
	hosts[1].routes.Other(route.Route{Dst: netip.MustParsePrefix("10.3.0.9/32"), Link: "eth9"})
	hosts[0].create(layer3("net3", "10.3.0.0/16"))
	hosts[0].replica("net3")
	hosts[1].replica("net3")
	hosts[0].run("web", "net3", ip("10.3.0.9"))
	hosts[0].run("web2", "net3", ip("10.3.0.10"))
	hosts[1].leads("the other", "10.3.0.10/32 via 192.0.2.1 dev eth1")
	hosts[1].eventually("it is told", func() bool { return len(hosts[1].d.Warnings()) > 0 })
	hosts[1].warns("routes to containers of network net3 on other hosts are not on h2 as they should be: make route 10.3.0.9/32 via 192.0.2.1 dev eth1: another route to it is in the way, which is not gvlan's: 10.3.0.9/32 dev eth9")
	if l := hosts[1].d.Routes.List(); len(l) != 2 || !strings.Contains(l[1].Wrong, "dev eth9") || l[0].Wrong != "" {
		// in the order of addresses
		if !strings.Contains(l[0].Wrong, "dev eth9") || l[1].Wrong != "" {
			t.Errorf("the list has %+v", l)
		}
	}
}

// TestNextHopIsLacking: a host without an address on the parent is named with the cure.
func TestNextHopIsLacking(t *testing.T) {
	c := newCluster(t)
	hosts := c.routed("h1", "h2")
	hosts[0].links.Unplug("eth1")
	hosts[0].links.Add(link.Interface{Name: "eth1", Up: true})
	hosts[0].create(layer3("net3", "10.3.0.0/16"))
	hosts[0].replica("net3")
	hosts[1].replica("net3")
	hosts[0].run("web", "net3", ip("10.3.0.9"))
	hosts[1].eventually("it is told", func() bool { return len(hosts[1].d.Warnings()) > 0 })
	hosts[1].warns("routes to containers of network net3 on other hosts are not on h2 as they should be: h1 has no address on the network's parent eth1: give it one of IPv4 there")
	hosts[0].card(netip.MustParsePrefix("192.0.2.1/24"))
	hosts[0].d.Poke()
	hosts[1].leads("a route once it has one", "10.3.0.9/32 via 192.0.2.1 dev eth1")
	hosts[1].eventually("nothing is told", func() bool { return len(hosts[1].d.Warnings()) == 0 })
}

// peer is a host.Speaker that remembers.
type peer struct {
	mu      sync.Mutex
	said    []string
	learned []route.Route
}

func (r *peer) Announce(ways []route.Route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = nil
	for _, w := range ways {
		r.said = append(r.said, w.String())
	}
}

func (r *peer) Learned() []route.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.learned
}

// forget has no session.
func (r *peer) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said, r.learned = nil, nil
}

func (r *peer) knows(ways ...string) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Equal(r.said, ways)
	}
}

// TestRoutersAreTold: of this host's own containers, and what they tell is gone by.
func TestRoutersAreTold(t *testing.T) {
	c := newCluster(t)
	h := c.routed("h1")[0]
	r := &peer{learned: []route.Route{{Dst: netip.MustParsePrefix("10.9.0.0/16"), Via: netip.MustParseAddr("192.0.2.254")}}}
	h.speaker, h.imports = r, []netip.Prefix{netip.MustParsePrefix("10.8.0.0/15")}
	h.restart()
	h.create(lan("net3", "10.3.0.0/16", with("ipvlan_mode", string(link.L3S)), func(r *engine.NetworkRequest) { r.IPAM.Options = map[string]string{"block": "26"} }))
	h.replica("net3")
	web := h.run("web", "net3", ip("10.3.0.9"))
	h.eventually("its block is told", r.knows("10.3.0.0/26 via 192.0.2.1"))
	h.leads("what routers told, and its block", "unreachable 10.3.0.0/26", "10.9.0.0/16 via 192.0.2.254 dev eth1")
	h.stop()
	h.wire.Down()
	r.forget()
	h.launch()
	h.leads("them after a start without the store", "unreachable 10.3.0.0/26", "10.9.0.0/16 via 192.0.2.254 dev eth1")
	c.pass(30 * time.Second)
	h.eventually("its containers are told while the store stays away", r.knows("10.3.0.9/32 via 192.0.2.1"))
	h.wire.Up()
	h.eventually("the store is back", h.trusted)
	h.eventually("its block is told again", r.knows("10.3.0.0/26 via 192.0.2.1"))
	h.leads("what routers told the life before", "unreachable 10.3.0.0/26", "10.9.0.0/16 via 192.0.2.254 dev eth1")
	c.pass(2 * time.Minute)
	h.leads("no more what they do not tell again", "unreachable 10.3.0.0/26")
	h.drained.Store(true)
	h.d.Poke()
	h.eventually("only what runs is told while drained", r.knows("10.3.0.9/32 via 192.0.2.1"))
	h.drained.Store(false)
	h.d.Poke()
	h.eventually("its block is told again", r.knows("10.3.0.0/26 via 192.0.2.1"))
	web.stop()
	web.remove()
	h.eventually("it is told of no more", r.knows())
}

// TestRoutesBetweenHostsAreForL3: elsewhere the option is refused.
func TestRoutesBetweenHostsAreForL3(t *testing.T) {
	h := newCluster(t).host("h1")
	_, err := h.engine.CreateNetwork(t.Context(), lan("lan1", "10.1.0.0/16", with("routes", string(option.HostRoutesOn))))
	h.wantErr(err, "-o routes=hosts", "macvlan bridge", "ipvlan_mode=l3")
}
