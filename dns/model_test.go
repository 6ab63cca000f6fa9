package dns

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"

	"gvlan/cluster/store"
)

// history is a store's content as plain maps, and the zone that saw every
// change of it.
type history struct {
	f         *feed
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
		h := &history{f: newFeed(t, ZoneConfig{}), networks: map[string]store.Network{}, endpoints: map[string]store.Endpoint{}}
		before := h.f.zone.Snapshot()
		frozen := h.observe(before)
		rt.Repeat(map[string]func(*rapid.T){
			"define":   h.define,
			"undefine": h.undefine,
			"start":    h.start,
			"stop":     h.stop,
			"relist":   func(*rapid.T) { h.relist(h.f.zone) },
			"remember": func(*rapid.T) { before = h.f.zone.Snapshot(); frozen = h.observe(before) },
			"": func(rt *rapid.T) {
				got := h.observe(h.f.zone.Snapshot())
				if diff := cmp.Diff(h.expect(), got); diff != "" {
					rt.Fatalf("zone differs from the records (-want +got):\n%s", diff)
				}
				late := newFeed(t, ZoneConfig{}).zone
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
	n := definition(name, rapid.SampledFrom([]string{"10.1.0.0/24", "10.2.0.0/16"}).Draw(rt, "subnet"))
	h.networks[name] = n
	h.f.zone.ApplyNetworks(put(h.f, store.NetworkKey(name), n))
}

func (h *history) undefine(rt *rapid.T) {
	name := rapid.SampledFrom(modelNetworks).Draw(rt, "network")
	delete(h.networks, name)
	h.f.undefine(name)
}

func (h *history) start(rt *rapid.T) {
	e := endpoint(rapid.SampledFrom([]string{"h2", "h3"}).Draw(rt, "node"), rapid.SampledFrom(modelNetworks).Draw(rt, "network"),
		"", fmt.Sprintf("10.1.0.%d/24", rapid.IntRange(1, 5).Draw(rt, "address")))
	e.Endpoint = fmt.Sprintf("e%d", rapid.IntRange(1, 6).Draw(rt, "endpoint"))
	e.Container = store.Container{Name: rapid.SampledFrom(modelNames).Draw(rt, "name")}
	e.Container.Aliases = rapid.SliceOfN(rapid.SampledFrom(modelNames), 0, 2).Draw(rt, "aliases")
	h.endpoints[store.EndpointKey(e.Node, e.Endpoint)] = e
	h.f.start(e)
}

func (h *history) stop(rt *rapid.T) {
	key := store.EndpointKey("h2", fmt.Sprintf("e%d", rapid.IntRange(1, 6).Draw(rt, "endpoint")))
	delete(h.endpoints, key)
	h.f.zone.ApplyEndpoints(h.f.drop(key))
}

// relist hands a zone everything anew, as Follow does after a compaction.
func (h *history) relist(zone *Zone) {
	var networks, endpoints store.Change
	networks.Reset, endpoints.Reset = true, true
	for name, n := range h.networks {
		networks.Items = append(networks.Items, item(h.f, store.NetworkKey(name), n))
	}
	for key, e := range h.endpoints {
		endpoints.Items = append(endpoints.Items, item(h.f, key, e))
	}
	zone.ApplyEndpoints(endpoints)
	zone.ApplyNetworks(networks)
}

// observe asks a snapshot for every name in every scope.
func (h *history) observe(s *Snapshot) map[string][]string {
	seen := make(map[string][]string)
	record := func(scope Scope, where, name string) {
		addrs := s.Holders(scope, name)
		if slices.Sort(addrs); len(addrs) > 0 {
			seen[where+" "+name] = addrs
		}
	}
	for _, network := range modelNetworks {
		for _, name := range []string{"web", "db", "web.1.x", "my-app"} {
			record(Networks("uuid-"+network), network, name)
			record(Everything(), "host", name+"."+network+".gvlan.internal")
		}
		for i := range 6 {
			record(Networks("uuid-"+network), network, fmt.Sprintf("%d.0.1.10.in-addr.arpa", i))
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
			folded, _ := FoldName(name)
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
	f := newFeed(t, ZoneConfig{})
	f.define("lan1", "10.9.0.0/24")
	stay := endpoint("h2", "lan1", "stay", "10.9.0.1/24", alias("all"))
	f.start(stay)
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
				if got := addresses(resolve(f.zone, Networks("uuid-lan1"), "all", miekg.TypeA)); len(got) < 1 || len(got) > 2 {
					t.Errorf("a reader saw %v", got)
				}
				asked++
			}
		}()
	}
	other := endpoint("h3", "lan1", "come-and-go", "10.9.0.2/24", alias("all"))
	for range 2000 {
		f.start(other)
		f.stop(other)
	}
	close(done)
	for range 3 {
		if <-finished == 0 {
			t.Error("a reader never got a turn")
		}
	}
}
