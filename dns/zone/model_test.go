package zone_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// history is a store's content as plain maps, and the zone that saw every
// change of it.
type history struct {
	f         *dnstest.Feed
	networks  map[string]store.Network
	endpoints map[string]store.Endpoint
}

var (
	modelNetworks = []string{"lan1", "lan2", "a.b"}
	modelNames    = []string{"web", "db", "web.1.x", "my_app"}
)

// TestZoneAgainstModel drives a zone through random histories of puts,
// deletes and relists, and compares every name in every scope with what a
// walk over the records says, and with a zone that only saw the end.
func TestZoneAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{f: dnstest.NewFeed(t, zone.Config{}), networks: map[string]store.Network{}, endpoints: map[string]store.Endpoint{}}
		before := h.f.Zone.Snapshot()
		frozen := h.observe(before)
		rt.Repeat(map[string]func(*rapid.T){
			"define":   h.define,
			"undefine": h.undefine,
			"start":    h.start,
			"stop":     h.stop,
			"relist":   func(*rapid.T) { h.relist(h.f.Zone) },
			"remember": func(*rapid.T) { before = h.f.Zone.Snapshot(); frozen = h.observe(before) },
			"": func(rt *rapid.T) {
				got := h.observe(h.f.Zone.Snapshot())
				if diff := cmp.Diff(h.expect(), got); diff != "" {
					rt.Fatalf("zone differs from the records (-want +got):\n%s", diff)
				}
				late := dnstest.NewFeed(t, zone.Config{}).Zone
				h.relist(late)
				if diff := cmp.Diff(got, h.observe(late.Snapshot())); diff != "" {
					rt.Fatalf("a node that came late answers otherwise (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(frozen, h.observe(before)); diff != "" {
					rt.Fatalf("a published snapshot changed (-want +got):\n%s", diff)
				}
			},
		})
	})
}

func (h *history) define(rt *rapid.T) {
	name := rapid.SampledFrom(modelNetworks).Draw(rt, "network")
	n := dnstest.Definition(name, rapid.SampledFrom([]string{"10.1.0.0/24", "10.2.0.0/16"}).Draw(rt, "subnet"))
	h.networks[name] = n
	h.f.Zone.ApplyNetworks(dnstest.Put(h.f, store.NetworkKey(name), n))
}

func (h *history) undefine(rt *rapid.T) {
	name := rapid.SampledFrom(modelNetworks).Draw(rt, "network")
	delete(h.networks, name)
	h.f.Undefine(name)
}

func (h *history) start(rt *rapid.T) {
	e := dnstest.Endpoint(rapid.SampledFrom([]string{"h2", "h3"}).Draw(rt, "node"), rapid.SampledFrom(modelNetworks).Draw(rt, "network"),
		"", fmt.Sprintf("10.1.0.%d/24", rapid.IntRange(1, 5).Draw(rt, "address")))
	e.Endpoint = fmt.Sprintf("e%d", rapid.IntRange(1, 6).Draw(rt, "endpoint"))
	e.Container = store.Container{Name: rapid.SampledFrom(modelNames).Draw(rt, "name")}
	e.Container.Aliases = rapid.SliceOfN(rapid.SampledFrom(modelNames), 0, 2).Draw(rt, "aliases")
	h.endpoints[store.EndpointKey(e.Node, e.Endpoint)] = e
	h.f.Start(e)
}

func (h *history) stop(rt *rapid.T) {
	key := store.EndpointKey("h2", fmt.Sprintf("e%d", rapid.IntRange(1, 6).Draw(rt, "endpoint")))
	delete(h.endpoints, key)
	h.f.Zone.ApplyEndpoints(h.f.Drop(key))
}

// relist hands a zone everything anew, as Follow does after a compaction.
func (h *history) relist(zone *zone.Zone) {
	var networks, endpoints store.Change
	networks.Reset, endpoints.Reset = true, true
	for name, n := range h.networks {
		networks.Items = append(networks.Items, dnstest.Item(h.f, store.NetworkKey(name), n))
	}
	for key, e := range h.endpoints {
		endpoints.Items = append(endpoints.Items, dnstest.Item(h.f, key, e))
	}
	zone.ApplyEndpoints(endpoints)
	zone.ApplyNetworks(networks)
}

// observe asks a snapshot for every name in every scope.
func (h *history) observe(s *zone.Snapshot) map[string][]string {
	seen := make(map[string][]string)
	record := func(scope zone.Scope, where, name string) {
		addrs := s.Holders(scope, name)
		if slices.Sort(addrs); len(addrs) > 0 {
			seen[where+" "+name] = addrs
		}
	}
	for _, network := range modelNetworks {
		for _, name := range []string{"web", "db", "web.1.x", "my-app"} {
			record(zone.Networks("uuid-"+network), network, name)
			record(zone.Everything(), "host", name+"."+network+".gvlan.internal")
		}
		for i := range 6 {
			record(zone.Networks("uuid-"+network), network, fmt.Sprintf("%d.0.1.10.in-addr.arpa", i))
		}
	}
	return seen
}

// expect says what observe must see, from the records alone.
func (h *history) expect() map[string][]string {
	want := make(map[string][]string)
	for _, e := range h.endpoints {
		network := e.Network[len("uuid-"):]
		_, defined := h.networks[network]
		addr := e.IPv4[:len(e.IPv4)-len("/24")]
		names := map[string]bool{}
		for _, name := range append([]string{e.Container.Name}, e.Container.Aliases...) {
			folded, _ := zone.FoldName(name)
			names[folded] = true
		}
		for name := range names {
			at := addr + "@" + e.Network
			want[network+" "+name] = append(want[network+" "+name], at)
			if fq := "host " + name + "." + network + ".gvlan.internal"; defined {
				want[fq] = append(want[fq], at)
			}
		}
		if last := addr[len("10.1.0."):]; defined {
			reverse := network + " " + last + ".0.1.10.in-addr.arpa"
			want[reverse] = append(want[reverse], addr+"@"+e.Network)
		}
	}
	for _, addrs := range want {
		slices.Sort(addrs)
	}
	return want
}

// TestReadersDuringWrites lets readers and a writer meet, for the race
// detector and for readers to see whole names only.
func TestReadersDuringWrites(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	f.Define("lan1", "10.9.0.0/24")
	stay := dnstest.Endpoint("h2", "lan1", "stay", "10.9.0.1/24", dnstest.Alias("all"))
	f.Start(stay)
	done := make(chan struct{})
	finished := make(chan int)
	for range 3 {
		go func() {
			asked := 0
			for {
				select {
				case <-done:
					finished <- asked
					return
				default:
				}
				if got := dnstest.Addresses(resolve(f.Zone, zone.Networks("uuid-lan1"), "all", miekg.TypeA)); len(got) < 1 || len(got) > 2 {
					t.Errorf("a reader saw %v", got)
				}
				asked++
			}
		}()
	}
	other := dnstest.Endpoint("h3", "lan1", "come-and-go", "10.9.0.2/24", dnstest.Alias("all"))
	for range 2000 {
		f.Start(other)
		f.Stop(other)
	}
	close(done)
	for range 3 {
		if <-finished == 0 {
			t.Error("a reader never got a turn")
		}
	}
}
