package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cmd/internal/api"
	"gvlan/dns/zone"
)

func called(name, network, host, addr string) api.NameView {
	view := api.NameView{Record: zone.Record{Name: name, Network: network, Node: "id-" + host, Addresses: []netip.Addr{netip.MustParseAddr(addr)}}, Host: host}
	if network != "" {
		view.Full = name + "." + network + ".gvlan.internal"
	}
	return view
}

func TestNames(t *testing.T) {
	twice := called("web", "lan", "h1", "10.0.0.3")
	twice.Namesake = true
	asked := answers{
		api.NamesRoute:                     []api.NameView{called("bare", "", "h2", "10.9.0.1"), called("db", "lan", "h2", "10.0.0.4"), twice},
		api.DoubtsRoute:                    []string{"container name web is used on hosts h1 and h2 in network lan"},
		api.NamesRoute + "?from=db%26":     []api.NameView{called("db", "lan", "h2", "10.0.0.4")},
		api.DoubtsRoute + "?from=db%26":    []string{},
		api.NamesRoute + "?from=nobody":    api.Missing(errors.New("no running container nobody is on a network of gvlan")),
		api.NamesRoute + "?from=nothing":   []api.NameView{},
		api.DoubtsRoute + "?from=nothing":  []string{},
		api.NamesRoute + "?from=disturbed": []api.NameView{}, api.DoubtsRoute + "?from=disturbed": errors.New("broken"),
	}
	for path, test := range map[string]struct {
		status int
		has    []string
		lacks  []string
	}{
		"/names": {http.StatusOK, []string{
			`bare</th>`, `web<span class="soft">.lan.gvlan.internal</span> <span class="badge warn">namesake</span>`, "used on hosts h1 and h2",
			`href="/search?q=10.0.0.4"`, `href="/network?name=lan"`, `href="/host?name=h2"`, `href="/v1/dns/names"`,
		}, nil},
		"/names?text=WEB":       {http.StatusOK, []string{"web<", `value="WEB"`}, []string{"bare<", "db<"}},
		"/names?text=0.0.4":     {http.StatusOK, []string{"db<"}, []string{"web<"}},
		"/names?text=h2":        {http.StatusOK, []string{"db<", "bare<"}, []string{"web<"}},
		"/names?text=nope":      {http.StatusOK, []string{"No name has “nope” in it"}, []string{"<table"}},
		"/names?from=db%26":     {http.StatusOK, []string{"db<", `value="db&amp;"`, `href="/v1/dns/names?from=db%26"`}, []string{"web<"}},
		"/names?from=nothing":   {http.StatusOK, []string{"nothing sees no name"}, []string{"<table"}},
		"/names?from=nobody":    {http.StatusNotFound, []string{"no running container nobody", `value="nobody"`}, []string{"<table"}},
		"/names?from=disturbed": {http.StatusInternalServerError, []string{"Not shown"}, nil},
		"/names?limit=1":        {http.StatusOK, []string{"These are 1 of 3.", `href="/names?limit=5"`}, []string{"db<"}},
	} {
		w := get(t, newSite(t, asked), path)
		has := func(text string) bool { return strings.Contains(w.Body.String(), text) }
		if w.Code != test.status || slices.ContainsFunc(test.lacks, has) || slices.ContainsFunc(test.has, func(text string) bool { return !has(text) }) {
			t.Errorf("%s is answered %d: %s", path, w.Code, w.Body)
		}
	}
}

// TestManyNames are not all of them one page.
func TestManyNames(t *testing.T) {
	var all []api.NameView
	for i := range 6000 {
		all = append(all, called(fmt.Sprint("c", i), "lan", "h1", "10.0.0.3"))
	}
	site := newSite(t, answers{api.NamesRoute: all, api.DoubtsRoute: []string{}})
	for path, rows := range map[string]int{"/names": 200, "/names?limit=5000": 5000} {
		if got := len(idsIn(get(t, site, path).Body.String())); got != rows {
			t.Errorf("%s has %d rows", path, got)
		}
	}
}

// TestNetworksOfNamesAndEvents: a link leads to the network that the host has, however
// the DNS spells it, and not to another host's of that name.
func TestNetworksOfNamesAndEvents(t *testing.T) {
	networks := []api.NetworkView{
		{Name: "Office", UUID: "u1", Scope: "global"}, {Name: "own", UUID: "u2", Scope: "local", Origin: "id1"}, {Name: "own", UUID: "u3", Scope: "local", Origin: "id2"},
	}
	site := newSite(t, answers{
		api.Known(api.NetworksRoute): networks, api.DoubtsRoute: []string{},
		api.NamesRoute:                 []api.NameView{{Record: zone.Record{Name: "web", Network: "office", Node: "id1"}}, {Record: zone.Record{Name: "db", Network: "own", Node: "id2"}}, {Record: zone.Record{Name: "old", Network: "gone"}}},
		api.EventsRoute + "?limit=201": api.Events{Events: []api.Event{{Kind: "network-made", Network: "Office", Node: "id2"}, {Kind: "network-made", Network: "own", Node: "id2"}, {Kind: "network-made", Network: "gone"}}},
	})
	for path, links := range map[string][]string{
		"/names":  {`<a href="/network?name=Office">office</a>`, `<a href="/network?name=own&amp;node=id2">own</a>`, `<a href="/network?name=gone">gone</a>`},
		"/events": {`<a href="/network?name=Office">Office</a>`, `<a href="/network?name=own&amp;node=id2">own</a>`, `<a href="/network?name=gone">gone</a>`},
	} {
		body := get(t, site, path).Body.String()
		for _, link := range links {
			if strings.Count(body, link) != 1 {
				t.Errorf("%s has not one %s: %s", path, link, body)
			}
		}
	}
}
