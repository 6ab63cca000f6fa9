package zone_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

func TestNamesakes(t *testing.T) {
	at := func(node, network, name, addr string, more ...func(*store.Endpoint)) store.Endpoint {
		return dnstest.Endpoint(node, network, name, addr, more...)
	}
	unasked := func(e *store.Endpoint) { e.Container = store.Container{} }
	both := []zone.Namesakes{{Name: "web", Network: "lan1", Nodes: []string{"h1", "h2"}}}
	tests := []struct {
		name  string
		of    []store.Endpoint
		scope zone.Scope
		want  []zone.Namesakes
	}{
		{"one host", []store.Endpoint{at("h1", "lan1", "web", "10.9.0.1/24")}, zone.Everything(), nil},
		{"two hosts", []store.Endpoint{at("h2", "lan1", "web", "10.9.0.2/24"), at("h1", "lan1", "web", "10.9.0.1/24")}, zone.Everything(), both},
		{"who sees the network", []store.Endpoint{at("h2", "lan1", "web", "10.9.0.2/24"), at("h1", "lan1", "web", "10.9.0.1/24")}, zone.Networks("uuid-lan1"), both},
		{"who does not", []store.Endpoint{at("h2", "lan1", "web", "10.9.0.2/24"), at("h1", "lan1", "web", "10.9.0.1/24")}, zone.Networks("uuid-my_lan"), nil},
		{"three hosts, none of them this one", []store.Endpoint{
			at("h4", "my_lan", "web", "10.8.0.4/24"), at("h3", "my_lan", "web", "10.8.0.3/24"), at("h2", "my_lan", "web", "10.8.0.2/24"),
		}, zone.Everything(), []zone.Namesakes{{Name: "web", Network: "my_lan", Nodes: []string{"h2", "h3", "h4"}}}},
		{"names that fold alike", []store.Endpoint{at("h1", "lan1", "db_1", "10.9.0.1/24"), at("h2", "lan1", "DB-1", "10.9.0.2/24")}, zone.Everything(),
			[]zone.Namesakes{{Name: "db-1", Network: "lan1", Nodes: []string{"h1", "h2"}}}},
		{"a service", []store.Endpoint{
			at("h1", "lan1", "web-1", "10.9.0.1/24", dnstest.Alias("web")), at("h2", "lan1", "web-2", "10.9.0.2/24", dnstest.Alias("web")),
		}, zone.Everything(), nil},
		{"a service called like a container", []store.Endpoint{at("h1", "lan1", "web", "10.9.0.1/24"), at("h2", "lan1", "web-2", "10.9.0.2/24", dnstest.Alias("web"))}, zone.Everything(), nil},
		{"two networks", []store.Endpoint{at("h1", "lan1", "web", "10.9.0.1/24"), at("h2", "my_lan", "web", "10.8.0.2/24")}, zone.Everything(), nil},
		{"containers nothing is known of yet", []store.Endpoint{at("h1", "lan1", "", "10.9.0.1/24", unasked), at("h2", "lan1", "", "10.9.0.2/24", unasked)}, zone.Everything(), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := dnstest.NewFeed(t, zone.Config{})
			f.Define("lan1", "10.9.0.0/24")
			f.Define("my_lan", "10.8.0.0/24")
			for _, e := range test.of {
				f.Start(e)
			}
			if diff := cmp.Diff(test.want, f.Zone.Namesakes(test.scope)); diff != "" {
				t.Errorf("namesakes (-want +got):\n%s", diff)
			}
			marked := map[string][]string{} // nodes by what is marked
			for _, r := range f.Zone.Names(test.scope) {
				if r.Namesake {
					marked[r.Name] = append(marked[r.Name], r.Node)
				}
			}
			for _, n := range test.want {
				if test.name != "names that fold alike" { // each is listed as it is spelled
					if diff := cmp.Diff(n.Nodes, marked[n.Name]); diff != "" {
						t.Errorf("marked (-want +got):\n%s", diff)
					}
				}
			}
			if len(test.want) == 0 && len(marked) > 0 {
				t.Errorf("marked are %v", marked)
			}
		})
	}
}

// TestNamesakesFollow: one of them is renamed and comes back, goes, and all
// are listed anew.
func TestNamesakesFollow(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	f.Define("lan1", "10.9.0.0/24")
	near, far := dnstest.Endpoint("h1", "lan1", "web", "10.9.0.1/24"), dnstest.Endpoint("h2", "lan1", "web", "10.9.0.2/24")
	f.Start(near)
	f.Start(far)
	want := func(step string, n int) {
		t.Helper()
		if got := f.Zone.Namesakes(zone.Everything()); len(got) != n {
			t.Errorf("%s: %v, want %d", step, got, n)
		}
	}
	want("both", 1)
	renamed := far
	renamed.Container.Name = "shop"
	f.Start(renamed)
	want("renamed", 0)
	f.Start(far)
	want("named back", 1)
	f.Stop(near)
	want("one gone", 0)
	f.Start(near)
	f.Zone.ApplyEndpoints(store.Change{Reset: true, Items: []store.Item{
		dnstest.Item(f, store.EndpointKey("h1", near.Endpoint), near),
	}})
	want("listed without the other", 0)
	f.Zone.ApplyNetworks(f.Drop(store.NetworkKey("lan1")))
	f.Start(far)
	want("without the definition", 1)
}
