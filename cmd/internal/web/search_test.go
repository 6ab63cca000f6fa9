package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/ipam/survey"
)

// finds is the page of a search that is answered so.
func finds(t *testing.T, q string, answer api.WhoisAnswer) on {
	t.Helper()
	return read(t, answers{api.Whois(q): answer}, "/search?"+url.Values{"q": {q}}.Encode())
}

// TestWhatASearchFinds is told in the words of gvlan whois, and leads to its view.
func TestWhatASearchFinds(t *testing.T) {
	v, free := web(), in(survey.Free)
	free.Address, free.Segment, free.Network = netip.MustParseAddr("10.9.0.7"), "lab", "lab"
	free.AsOf = noon.Add(-time.Minute)
	wants := []api.Wanted{{Address: v.Address, Container: "idle", Network: "lan", Host: "h2"}, {Address: free.Address, Container: "idle", Network: "lab", Host: "h3", Removed: true}}
	last := []api.Holder{{Address: free.Address, Container: "old", Host: "h2", To: noon.Add(-time.Hour)}}

	p := finds(t, "web", api.WhoisAnswer{Found: []api.Found{{Kind: api.FoundAddress, Lease: &v, Last: last}}})
	p.says("address 10.9.0.5", "● leased")
	p.leads("10.9.0.5", "/lease?address=10.9.0.5&segment=default")
	p.leads("web (0123456789ab)", "/search?q=web")
	p.leads("lan", "/network?name=lan")
	p.tells("before", "old on h2, until 1 hour ago")
	if p.id("q")["value"] != "web" {
		t.Error("what was sought is not in the box any more")
	}

	p = finds(t, "10.9.0.7", api.WhoisAnswer{Found: []api.Found{{Kind: api.FoundAddress, Lease: &free, LAN: &api.LANAnswer{At: []string{"eth1"}}, Wants: wants[:1]}}})
	p.tells("lan", "nobody answers on the LAN at eth1")
	p.tells("wanted", "by stopped container idle on h2, when it starts")
	p.says("this is what containers had 1 minute ago")
	p.leads("10.9.0.7", "/lease?address=10.9.0.7&segment=lab")

	p = finds(t, "h1", api.WhoisAnswer{Found: []api.Found{{Kind: api.FoundHost, Host: &api.FoundOnHost{Host: "h1", State: "detached", Address: "192.0.2.1", Containers: 1}}}})
	p.tells("state", "without etcd, 1 container on gvlan's networks")
	p.leads("h1", "/host?name=h1")

	p = finds(t, "lan", api.WhoisAnswer{Found: []api.Found{{Kind: api.FoundNetwork, Network: &api.FoundInStore{Name: "lan", Subnets: []string{"10.9.0.0/24", "fd00::/64"}, Containers: 2}}}})
	p.tells("subnets", "10.9.0.0/24, fd00::/64")
	p.leads("lan", "/network?name=lan")

	p = finds(t, "02:42:0a:09:00:99", api.WhoisAnswer{Found: []api.Found{
		{Kind: api.FoundMAC, MAC: "02:42:0a:09:00:99", Met: []api.MetAt{{Address: free.Address, Parent: "eth1"}}, Last: last},
		{Kind: api.FoundReserved, Reserved: &api.Reserved{Address: free.Address, Network: "lab", For: "camera", MAC: "02:42:0a:09:00:99"}},
	}})
	p.says("2 found", "MAC address 02:42:0a:09:00:99", "reserved address 10.9.0.7")
	p.tells("lan", "this host met it as 10.9.0.7 at eth1")
	p.tells("before", "old on h2 had 10.9.0.7, until 1 hour ago")
	p.tells("now", "nobody has it")
	p.leads("camera", "/search?q=camera")
	p.leads("10.9.0.7", "/lease?address=10.9.0.7&network=lab")

	p = finds(t, "idle", api.WhoisAnswer{Found: []api.Found{{Kind: api.FoundContainer, Container: "idle", Wants: wants}}})
	p.tells("state", "it has no address now")
	p.leads("on h2; when it starts it wants 10.9.0.5 of network lan", "/lease?address=10.9.0.5&network=lan")
	p.leads("on h3; when it starts it wants 10.9.0.7 of network lab", "/lease?address=10.9.0.7&network=lab")
}

func TestASearchThatFindsNothing(t *testing.T) {
	p := finds(t, "wev", api.WhoisAnswer{Near: []string{"web", "w&b"}})
	p.says("no address, container, host or network here is called wev; did you mean web or w&b")
	p.leads("w&b", "/search?q=w%26b")
	outside := in(survey.Outside)
	outside.Address = netip.MustParseAddr("192.0.2.1")
	p = finds(t, "192.0.2.1", api.WhoisAnswer{Found: []api.Found{{Kind: api.FoundAddress, Lease: &outside}}})
	p.says("nothing is known of 192.0.2.1")
	p.tells("state", "in no network of gvlan's")
	for _, path := range []string{"/search", "/search?q=+"} {
		read(t, answers{}, path).says("Type an address, a MAC address, or the name")
	}
	if w := get(t, newSite(t, answers{api.Whois("web"): store.ErrUnavailable}), "/search?q=web"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("while etcd is away a search is answered %d", w.Code)
	}
}

// TestASearchIsAskedOnce: it asks the LAN, and a page that stays open does not.
func TestASearchIsAskedOnce(t *testing.T) {
	if p := finds(t, "wev", api.WhoisAnswer{}); !strings.Contains(p.text, "data-still") || strings.Contains(p.text, `http-equiv="refresh"`) {
		t.Error("the page of a search asks again by itself")
	}
	if p := shows(t, pictured("10.9.0.0/28", "10.9.0.0/28", nil)); strings.Contains(p.text, "data-still") || !strings.Contains(p.text, `http-equiv="refresh"`) {
		t.Error("the page of a subnet stays as it is")
	}
}
