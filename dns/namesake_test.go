package dns

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
)

func TestNamesakes(t *testing.T) {
	at := func(node, network, name, addr string, more ...func(*store.Endpoint)) store.Endpoint {
		return endpoint(node, network, name, addr, more...)
	}
	unasked := func(e *store.Endpoint) { e.Container = store.Container{} }
	both := []Namesakes{{Name: "web", Network: "lan1", Nodes: []string{"h1", "h2"}}}
	tests := []struct {
		name  string
		of    []store.Endpoint
		scope Scope
		want  []Namesakes
	}{
		{"one host", []store.Endpoint{at("h1", "lan1", "web", "10.9.0.1/24")}, Everything(), nil},
		{"two hosts", []store.Endpoint{at("h2", "lan1", "web", "10.9.0.2/24"), at("h1", "lan1", "web", "10.9.0.1/24")}, Everything(), both},
		{"who sees the network", []store.Endpoint{at("h2", "lan1", "web", "10.9.0.2/24"), at("h1", "lan1", "web", "10.9.0.1/24")}, Networks("uuid-lan1"), both},
		{"who does not", []store.Endpoint{at("h2", "lan1", "web", "10.9.0.2/24"), at("h1", "lan1", "web", "10.9.0.1/24")}, Networks("uuid-my_lan"), nil},
		{"three hosts, none of them this one", []store.Endpoint{
			at("h4", "my_lan", "web", "10.8.0.4/24"), at("h3", "my_lan", "web", "10.8.0.3/24"), at("h2", "my_lan", "web", "10.8.0.2/24"),
		}, Everything(), []Namesakes{{Name: "web", Network: "my_lan", Nodes: []string{"h2", "h3", "h4"}}}},
		{"names that fold alike", []store.Endpoint{at("h1", "lan1", "db_1", "10.9.0.1/24"), at("h2", "lan1", "DB-1", "10.9.0.2/24")}, Everything(),
			[]Namesakes{{Name: "db-1", Network: "lan1", Nodes: []string{"h1", "h2"}}}},
		{"a service", []store.Endpoint{
			at("h1", "lan1", "web-1", "10.9.0.1/24", alias("web")), at("h2", "lan1", "web-2", "10.9.0.2/24", alias("web")),
		}, Everything(), nil},
		{"a service called like a container", []store.Endpoint{at("h1", "lan1", "web", "10.9.0.1/24"), at("h2", "lan1", "web-2", "10.9.0.2/24", alias("web"))}, Everything(), nil},
		{"two networks", []store.Endpoint{at("h1", "lan1", "web", "10.9.0.1/24"), at("h2", "my_lan", "web", "10.8.0.2/24")}, Everything(), nil},
		{"containers nothing is known of yet", []store.Endpoint{at("h1", "lan1", "", "10.9.0.1/24", unasked), at("h2", "lan1", "", "10.9.0.2/24", unasked)}, Everything(), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFeed(t, ZoneConfig{})
			f.define("lan1", "10.9.0.0/24")
			f.define("my_lan", "10.8.0.0/24")
			for _, e := range test.of {
				f.start(e)
			}
			if diff := cmp.Diff(test.want, f.zone.Namesakes(test.scope)); diff != "" {
				t.Errorf("namesakes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNamesakesFollow: one of them is renamed and comes back, goes, and all
// are listed anew.
func TestNamesakesFollow(t *testing.T) {
	f := newFeed(t, ZoneConfig{})
	f.define("lan1", "10.9.0.0/24")
	near, far := endpoint("h1", "lan1", "web", "10.9.0.1/24"), endpoint("h2", "lan1", "web", "10.9.0.2/24")
	f.start(near)
	f.start(far)
	want := func(step string, n int) {
		t.Helper()
		if got := f.zone.Namesakes(Everything()); len(got) != n {
			t.Errorf("%s: %v, want %d", step, got, n)
		}
	}
	want("both", 1)
	renamed := far
	renamed.Container.Name = "shop"
	f.start(renamed)
	want("renamed", 0)
	f.start(far)
	want("named back", 1)
	f.stop(near)
	want("one gone", 0)
	f.start(near)
	f.zone.ApplyEndpoints(store.Change{Reset: true, Items: []store.Item{
		item(f, store.EndpointKey("h1", near.Endpoint), near),
	}})
	want("listed without the other", 0)
	f.zone.ApplyNetworks(f.drop(store.NetworkKey("lan1")))
	f.start(far)
	want("without the definition", 1)
}
