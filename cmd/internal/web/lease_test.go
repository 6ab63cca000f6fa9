package web

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	markup "golang.org/x/net/html"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/driver/option"
	"gvlan/ipam/survey"
)

// web is an address that container web has, as everything tells of it.
func web() api.LeaseView {
	v := leased("web", "h1", "02:42:0a:09:00:05", 8*time.Hour)
	v.Address, v.Segment, v.Network, v.Node, v.Parent = netip.MustParseAddr("10.9.0.5"), "default", "lan", "id1", "eth1"
	v.NetworkID, v.ContainerID, v.Endpoint, v.Key = "u1", "0123456789abcdef", "fedcba9876543210", "leases/default/10.9.0.5"
	return v
}

// rows are what a page tells of one thing, by their names.
func (p on) rows() map[string][]string {
	all := map[string][]string{}
	for n := range p.root.Descendants() {
		if n.Type != markup.ElementNode || n.Data != "dl" {
			continue
		}
		name := ""
		for child := range n.Descendants() {
			switch {
			case child.Type == markup.ElementNode && child.Data == "dt":
				name = within(child)
			case child.Type == markup.ElementNode && child.Data == "dd":
				all[name] = append(all[name], within(child))
			}
		}
	}
	return all
}

// tells wants a page to tell this under that name.
func (p on) tells(name string, want ...string) {
	p.t.Helper()
	if got := p.rows()[name]; !slices.Equal(got, want) {
		p.t.Errorf("the page tells of %s %q, and not %q", name, got, want)
	}
}

func TestALease(t *testing.T) {
	detail := api.LeaseDetail{
		LeaseView: web(), Record: &store.Lease{State: store.Leased, Nonce: "n1"},
		Last: []api.Holder{
			{Container: "old", Host: "h2", From: noon.Add(-20 * time.Hour), To: noon.Add(-9 * time.Hour)},
			{Container: "older", Host: "h3", To: noon.Add(-21 * time.Hour)},
		},
	}
	happened := []api.Event{
		{Time: noon.Add(-9 * time.Hour), Kind: "released", Host: "h2", Segment: "default", Address: "10.9.0.5", Container: "old"},
		{Time: noon.Add(-8 * time.Hour), Kind: "given", Host: "h1", Segment: "default", Address: "10.9.0.5", Container: "web"},
		{Time: noon.Add(-7 * time.Hour), Kind: "given", Host: "h1", Segment: "lab", Address: "10.9.0.5", Container: "elsewhere"},
	}
	a := answers{
		api.Lease("10.9.0.5", "", "default"):                                   []api.LeaseDetail{detail},
		api.EventsWanted{Of: "10.9.0.5", Limit: mostOfOne}.At(api.EventsRoute): api.Events{Events: happened, Alone: "these are this host's own"},
		api.Known(api.NetworksRoute): []api.NetworkView{
			{Name: "lab", Segment: "lab", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.9.0.0/24")}}},
			{Name: "lan", UUID: "u1", Segment: "default", Origin: "id1", Scope: string(option.ScopeLocal), Pools: []store.Pool{{Subnet: netip.MustParsePrefix("fd00::/64")}, {Subnet: netip.MustParsePrefix("10.9.0.0/16")}}},
		},
	}
	p := read(t, a, "/lease?address=10.9.0.5&segment=default")
	p.tells("state", "leased")
	p.tells("container", "web (0123456789ab)")
	p.tells("mac", "02:42:0a:09:00:05")
	p.tells("since", "8 hours ago (2026-11-30 04:00 UTC)")
	p.tells("record", "state lease, nonce n1")
	p.tells("before", "old on h2, from 20 hours until 9 hours ago", "older on h3, until 21 hours ago")
	p.leads("web (0123456789ab)", "/search?q=web")
	p.leads("h1", "/host?name=h1")
	p.leads("lan", "/network?name=lan&node=id1")
	p.leads("10.9.0.0/24", "/subnet?at=10.9.0.0%2F24&network=lan&node=id1&subnet=10.9.0.0%2F16")
	p.says("leased to web", "these are this host's own", "given web", "released old")
	if text := within(p.root); strings.Index(text, "given web") > strings.Index(text, "released old") || strings.Contains(text, "elsewhere") {
		t.Errorf("its events are not its own, the newest first: %s", text)
	}

	delete(a, api.Known(api.NetworksRoute))
	delete(a, api.EventsWanted{Of: "10.9.0.5", Limit: mostOfOne}.At(api.EventsRoute))
	p = read(t, a, "/lease?address=10.9.0.5&segment=default")
	p.says("what happened is not known: nothing answers /v1/events")
	p.tells("state", "leased")
}

// TestAnAddressOfSeveralSegments is shown in each, and how old that is.
func TestAnAddressOfSeveralSegments(t *testing.T) {
	other := in(survey.Free)
	other.Address, other.Segment, other.Network, other.AsOf = web().Address, "lab", "lab", noon.Add(-time.Minute)
	p := read(t, answers{api.Lease("10.9.0.5", "", ""): []api.LeaseDetail{{LeaseView: web()}, {LeaseView: other}}}, "/lease?address=+10.9.0.5")
	p.says("Segment default ● leased", "Segment lab free", "this is what containers had 1 minute ago")
	p.tells("state", "leased", "free")
}

func TestALeaseIsAskedWrongly(t *testing.T) {
	site := newSite(t, answers{
		api.Lease("", "", ""):             api.Refuse(errors.New("no address")),
		api.Lease("10.9.0.5", "lab", ""):  []api.LeaseDetail{},
		api.Lease("10.9.0.6", "lab", "x"): store.ErrUnavailable,
	})
	for path, want := range map[string]int{"/lease": http.StatusBadRequest, "/lease?address=10.9.0.5&network=lab": http.StatusNotFound, "/lease?address=10.9.0.6&network=lab&segment=x": http.StatusServiceUnavailable} {
		if w := get(t, site, path); w.Code != want {
			t.Errorf("%s is answered %d, and not %d", path, w.Code, want)
		}
	}
}
