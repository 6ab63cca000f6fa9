package zone_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

func TestLookup(t *testing.T) {
	f := dnstest.House(t)
	lan1 := zone.Networks("uuid-lan1")
	both := zone.Networks("uuid-lan1", "uuid-proj_lan")
	const foreign = -1
	tests := []struct {
		name  string
		scope zone.Scope
		query string
		qtype uint16
		rcode int // or foreign
		want  []string
	}{
		{"bare", lan1, "web", miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"bare on another host", lan1, "db-main", miekg.TypeA, 0, []string{"10.9.0.20"}},
		{"underscore as Docker spells it", lan1, "db_main", miekg.TypeA, 0, []string{"10.9.0.20"}},
		{"alias", lan1, "www", miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"alias", lan1, "db", miekg.TypeA, 0, []string{"10.9.0.20"}},
		{"compose's label alone", lan1, "shop.lan1.gvlan.internal", miekg.TypeA, miekg.RcodeNameError, nil},
		{"swarm service", lan1, "stack_api", miekg.TypeA, 0, []string{"10.9.0.30"}},
		{"swarm tasks", lan1, "tasks.stack_api", miekg.TypeA, 0, []string{"10.9.0.30"}},
		{"swarm task", lan1, "stack_api.1.abc", miekg.TypeA, 0, []string{"10.9.0.30"}},
		{"short id", lan1, dnstest.ShortID("h1lan1web"), miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"with network", lan1, "web.lan1", miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"fully qualified", lan1, "web.lan1.gvlan.internal", miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"any case", lan1, "WeB.LAN1.gvlan.INTERNAL", miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"ipv6", lan1, "web", miekg.TypeAAAA, 0, []string{"fd09::10"}},
		{"no ipv6", lan1, "db", miekg.TypeAAAA, 0, nil},
		{"type it has not", lan1, "web", miekg.TypeMX, 0, nil},
		{"first network by name", both, "web", miekg.TypeA, 0, []string{"10.9.0.10"}},
		{"folded network", both, "web.proj_lan", miekg.TypeA, 0, []string{"10.8.3.7"}},
		{"folded network as it folds", both, "web.proj-lan.gvlan.internal", miekg.TypeA, 0, []string{"10.8.3.7"}},
		{"unknown bare", lan1, "nobody", miekg.TypeA, foreign, nil},
		{"unknown in a network, may be a real domain", lan1, "nobody.lan1", miekg.TypeA, foreign, nil},
		{"unknown below the domain", lan1, "nobody.lan1.gvlan.internal", miekg.TypeA, miekg.RcodeNameError, nil},
		{"unknown network below the domain", lan1, "web.lan9.gvlan.internal", miekg.TypeA, miekg.RcodeNameError, nil},
		{"network itself", lan1, "lan1.gvlan.internal", miekg.TypeA, 0, nil},
		{"the domain", lan1, "gvlan.internal", miekg.TypeA, 0, nil},
		{"above the domain", lan1, "internal", miekg.TypeA, foreign, nil},
		{"empty non-terminal", lan1, "1.abc.lan1.gvlan.internal", miekg.TypeA, 0, nil},
		{"empty non-terminal of services", lan1, "_tcp.web.lan1.gvlan.internal", miekg.TypeA, 0, nil},
		{"no such protocol", lan1, "_udp.web.lan1.gvlan.internal", miekg.TypeA, miekg.RcodeNameError, nil},
		{"a byte no name holds", lan1, `we\032b.lan1.gvlan.internal`, miekg.TypeA, miekg.RcodeNameError, nil},
		{"a dot inside a label is no dot", lan1, `web.lan1\.gvlan.internal`, miekg.TypeA, foreign, nil},
		{"elsewhere", lan1, "example.com", miekg.TypeA, foreign, nil},
		{"host sees all", zone.Everything(), "web.proj-lan.gvlan.internal", miekg.TypeA, 0, []string{"10.8.3.7"}},
		{"host sees no short names", zone.Everything(), "web", miekg.TypeA, foreign, nil},
		{"host sees no half names", zone.Everything(), "web.lan1", miekg.TypeA, foreign, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := resolve(f.Zone, tt.scope, tt.query, tt.qtype)
			if tt.rcode == foreign {
				if m != nil {
					t.Fatalf("answered a name that is not ours:\n%v", m)
				}
				return
			}
			if m == nil {
				t.Fatal("took a name of ours for somebody else's")
			}
			if m.Rcode != tt.rcode {
				t.Errorf("rcode %s, want %s", miekg.RcodeToString[m.Rcode], miekg.RcodeToString[tt.rcode])
			}
			if diff := cmp.Diff(tt.want, dnstest.Addresses(m)); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if len(tt.want) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != miekg.TypeSOA) {
				t.Errorf("an empty answer without an SOA cannot be remembered:\n%v", m)
			}
		})
	}
}

func TestIsolation(t *testing.T) {
	f := dnstest.House(t)
	f.Define("twin", "10.8.0.0/20") // another segment may use the same addresses
	f.Start(dnstest.Endpoint("h2", "twin", "spy", "10.8.3.8/20", dnstest.Exposed("22/tcp"), dnstest.Label("gvlan.txt", "secret")))
	f.Start(dnstest.Endpoint("h2", "twin", "ghost", "10.8.3.7/20"))
	lan1, proj := zone.Networks("uuid-lan1"), zone.Networks("uuid-proj_lan")
	for _, name := range []string{
		"spy", "spy.twin", "spy.twin.gvlan.internal", "SPY.Twin.GVLAN.internal", "twin.gvlan.internal", "twin",
		"_22._tcp.spy", "_22._tcp.spy.twin", "_22._tcp.spy.twin.gvlan.internal", "_tcp.spy.twin.gvlan.internal",
		"8.3.8.10.in-addr.arpa", dnstest.ShortID("h2twinspy"), dnstest.ShortID("h2twinspy") + ".twin.gvlan.internal", "tasks.spy",
	} {
		for _, qtype := range []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypeTXT, miekg.TypeSRV, miekg.TypePTR, miekg.TypeSOA, miekg.TypeNS, miekg.TypeANY} {
			for _, scope := range []zone.Scope{lan1, proj, {}} {
				m := resolve(f.Zone, scope, name, qtype)
				if m != nil && (m.Rcode != miekg.RcodeNameError || len(m.Answer)+len(m.Extra) > 0) {
					t.Errorf("%s %s crosses into another network:\n%v", name, miekg.TypeToString[qtype], m)
				}
			}
		}
	}
	t.Run("held address is never passed on", func(t *testing.T) {
		q := new(miekg.Msg).SetQuestion("8.3.8.10.in-addr.arpa.", miekg.TypePTR)
		if m := f.Zone.Answer(q, zone.Asker{Scope: lan1, Recursion: true}).Msg; m == nil || m.Rcode != miekg.RcodeNameError {
			t.Errorf("the reverse name of another network's container may be passed on: %v", m)
		}
	})
	t.Run("shared address names one's own network", func(t *testing.T) {
		m := resolve(f.Zone, proj, "7.3.8.10.in-addr.arpa", miekg.TypePTR)
		if m == nil || len(m.Answer) != 1 || m.Answer[0].(*miekg.PTR).Ptr != "web.proj-lan.gvlan.internal." {
			t.Errorf("want web.proj-lan alone:\n%v", m)
		}
	})
}

func TestAnswerOrder(t *testing.T) {
	ranks := map[string]int{}
	f := dnstest.NewFeed(t, zone.Config{Node: "h1", Rank: func(node string) int { return ranks[node] }})
	f.Define("lan1", "10.9.0.0/24")
	for node, addr := range map[string]string{"h1": "10.9.0.1/24", "h2": "10.9.0.2/24", "h3": "10.9.0.3/24", "h4": "10.9.0.4/24"} {
		f.Start(dnstest.Endpoint(node, "lan1", "web", addr))
	}
	orders := func() map[string]bool {
		seen := make(map[string]bool)
		for spin := range uint32(12) {
			q := new(miekg.Msg).SetQuestion("web.", miekg.TypeA)
			m := f.Zone.Answer(q, zone.Asker{Scope: zone.Networks("uuid-lan1"), Spin: spin}).Msg
			got := dnstest.Addresses(m)
			if len(got) != 4 {
				t.Fatalf("%v: want four addresses", got)
			}
			if got[0] != "10.9.0.1" {
				t.Errorf("%v: want the container of this host first", got)
			}
			seen[got[1]+" "+got[3]] = true
		}
		return seen
	}
	if seen := orders(); len(seen) < 3 {
		t.Errorf("orders %v: equals must take turns", seen)
	}
	ranks["h3"] = 9
	f.Zone.Rerank()
	for order := range orders() {
		if order[len(order)-8:] != "10.9.0.3" {
			t.Errorf("order %q: want the dead node last", order)
		}
	}
	ranks["h3"], ranks["h1"] = 0, 9
	f.Zone.Rerank()
	orders() // this host stays first, whatever it is told of itself
}

func TestSameContainerNameOnTwoHosts(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h2"})
	f.Define("lan1", "10.9.0.0/24")
	f.Start(dnstest.Endpoint("h1", "lan1", "web", "10.9.0.1/24"))
	second := dnstest.Endpoint("h2", "lan1", "web", "10.9.0.2/24")
	f.Start(second)
	lan1 := zone.Networks("uuid-lan1")
	if diff := cmp.Diff([]string{"10.9.0.2", "10.9.0.1"}, dnstest.Addresses(resolve(f.Zone, lan1, "web", miekg.TypeA))); diff != "" {
		t.Errorf("want both, this host's first (-want +got):\n%s", diff)
	}
	f.Stop(second)
	if diff := cmp.Diff([]string{"10.9.0.1"}, dnstest.Addresses(resolve(f.Zone, lan1, "web", miekg.TypeA))); diff != "" {
		t.Errorf("after one stopped (-want +got):\n%s", diff)
	}
}

func TestRename(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	f.Define("lan1", "10.9.0.0/24")
	e := dnstest.Endpoint("h2", "lan1", "", "10.9.0.1/24")
	e.Container = store.Container{}
	f.Start(e)
	lan1 := zone.Networks("uuid-lan1")
	if got := dnstest.Addresses(resolve(f.Zone, lan1, "ip-10-9-0-1", miekg.TypeA)); len(got) != 1 {
		t.Errorf("a container nothing is known of must answer by its address, got %v", got)
	}
	for _, name := range []string{"old", "new"} {
		e.Container.Name = name
		f.Start(e)
		if got := dnstest.Addresses(resolve(f.Zone, lan1, name, miekg.TypeA)); len(got) != 1 {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for _, name := range []string{"ip-10-9-0-1", "old"} {
		if m := resolve(f.Zone, lan1, name, miekg.TypeA); m != nil {
			t.Errorf("%s still answers:\n%v", name, m)
		}
	}
}

func TestNetworksThatFoldAlike(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	f.Define("proj_lan", "10.9.0.0/24")
	f.Start(dnstest.Endpoint("h1", "proj_lan", "web", "10.9.0.1/24"))
	f.Define("proj-lan", "10.8.0.0/24")
	f.Start(dnstest.Endpoint("h1", "proj-lan", "web", "10.8.0.1/24"))
	want := []zone.Conflict{
		{Network: "proj-lan", Label: "proj-lan", With: "proj_lan"},
		{Network: "proj_lan", Label: "proj-lan", With: "proj-lan"},
	}
	if diff := cmp.Diff(want, f.Zone.Conflicts()); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	scope := zone.Networks("uuid-proj_lan")
	if m := resolve(f.Zone, zone.Everything(), "web.proj-lan.gvlan.internal", miekg.TypeA); m.Rcode != miekg.RcodeNameError {
		t.Errorf("a name that means two networks was answered:\n%v", m)
	}
	if got := dnstest.Addresses(resolve(f.Zone, scope, "web", miekg.TypeA)); !slices.Equal(got, []string{"10.9.0.1"}) {
		t.Errorf("bare name in a refused network: got %v", got)
	}
	f.Undefine("proj-lan")
	if got := dnstest.Addresses(resolve(f.Zone, scope, "web.proj-lan", miekg.TypeA)); !slices.Equal(got, []string{"10.9.0.1"}) {
		t.Errorf("after the other network went: got %v", got)
	}
	if got := f.Zone.Conflicts(); len(got) != 0 {
		t.Errorf("conflicts %v, want none", got)
	}
}

func TestLocalNetwork(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Start(dnstest.Endpoint("h1", "private", "web", "172.30.0.2/16"))
	f.Start(dnstest.Endpoint("h2", "elsewhere", "web", "172.30.0.3/16"))
	if got := dnstest.Addresses(resolve(f.Zone, zone.Everything(), "web.private.gvlan.internal", miekg.TypeA)); len(got) != 1 {
		t.Errorf("a network of this engine alone has names on this host, got %v", got)
	}
	if m := resolve(f.Zone, zone.Everything(), "web.elsewhere.gvlan.internal", miekg.TypeA); m.Rcode != miekg.RcodeNameError {
		t.Errorf("another host's own network has a name here:\n%v", m)
	}
	f.Define("private", "10.9.0.0/24")
	if got := f.Zone.Conflicts(); len(got) != 0 {
		t.Errorf("the network got its definition; conflicts %v", got)
	}
}

// TestLocalNetworkKeepsItsName has the record of the only container on a
// network of this engine alone change, and then make way for another's.
func TestLocalNetworkKeepsItsName(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	own := dnstest.Endpoint("h1", "private", "web", "172.30.0.2/16")
	f.Start(own)
	f.Zone.Counts()[0].NoError.Add(7)
	other := dnstest.Endpoint("h1", "private", "db", "172.30.0.3/16")
	check := func(what, name string) {
		t.Helper()
		if got := dnstest.Addresses(resolve(f.Zone, zone.Everything(), name+".private.gvlan.internal", miekg.TypeA)); len(got) != 1 {
			t.Errorf("%s: %s.private has the addresses %v", what, name, got)
		}
		if c := f.Zone.Counts()[0]; c.Zone != "private" || c.NoError.Load() != 7 {
			t.Errorf("%s: %s counts %d questions, want private with 7", what, c.Zone, c.NoError.Load())
		}
	}
	own.Container.Aliases = []string{"www"}
	f.Start(own)
	check("the record changed", "www")
	f.Zone.ApplyEndpoints(store.Change{Reset: true, Items: []store.Item{dnstest.Item(f, store.EndpointKey("h1", other.Endpoint), other)}})
	check("another container instead", "db")
	f.Stop(other)
	if got := f.Zone.Counts(); got[0].Zone != zone.DomainCounts {
		t.Errorf("networks nobody is on are kept: %v", got)
	}
}

// TestLocalNetworkGivesWay has a network of this engine alone beside a
// definition of the same name.
func TestLocalNetworkGivesWay(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	own := dnstest.Endpoint("h1", "lan1", "web", "172.30.0.2/16")
	own.Network = "engine:1"
	f.Start(own)
	f.Define("lan1", "10.9.0.0/24")
	f.Start(dnstest.Endpoint("h2", "lan1", "web", "10.9.0.1/24"))
	if diff := cmp.Diff([]string{"10.9.0.1"}, dnstest.Addresses(resolve(f.Zone, zone.Everything(), "web.lan1.gvlan.internal", miekg.TypeA))); diff != "" {
		t.Errorf("the definition's zone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]zone.Conflict{{Network: "lan1", Label: "lan1", With: "lan1"}}, f.Zone.Conflicts()); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	if got := dnstest.Addresses(resolve(f.Zone, zone.Networks("engine:1"), "web", miekg.TypeA)); !slices.Equal(got, []string{"172.30.0.2"}) {
		t.Errorf("bare name on the engine's own network: got %v", got)
	}
}

// TestNamesAbove lets two names with a common parent go one after the other.
func TestNamesAbove(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	f.Define("lan1", "10.9.0.0/24")
	one, two := dnstest.Endpoint("h1", "lan1", "one.group", "10.9.0.1/24"), dnstest.Endpoint("h1", "lan1", "two.group", "10.9.0.2/24")
	f.Start(one)
	f.Start(two)
	for _, step := range []struct {
		what  string
		stop  store.Endpoint
		rcode int
	}{{"one of two left", one, miekg.RcodeSuccess}, {"none left", two, miekg.RcodeNameError}} {
		f.Stop(step.stop)
		if m := resolve(f.Zone, zone.Everything(), "group.lan1.gvlan.internal", miekg.TypeA); m.Rcode != step.rcode {
			t.Errorf("%s:\n%v", step.what, m)
		}
	}
}

func TestDNSOff(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	n := dnstest.Definition("quiet", "10.9.0.0/24")
	n.Created.Options = map[string]string{"dns": "off"}
	f.Zone.ApplyNetworks(dnstest.Put(f, store.NetworkKey("quiet"), n))
	f.Start(dnstest.Endpoint("h1", "quiet", "web", "10.9.0.1/24"))
	for _, name := range []string{"web", "web.quiet", "1.0.9.10.in-addr.arpa"} {
		if m := resolve(f.Zone, zone.Networks("uuid-quiet"), name, miekg.TypePTR); m != nil {
			t.Errorf("%s is answered although the network has dns=off:\n%v", name, m)
		}
	}
}

func TestReset(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	keep, lose := dnstest.Endpoint("h2", "lan1", "keep", "10.9.0.1/24"), dnstest.Endpoint("h2", "lan1", "lose", "10.9.0.2/24")
	f.Define("lan1", "10.9.0.0/24")
	f.Start(keep)
	f.Start(lose)
	serial := f.Zone.Serial()
	fresh := dnstest.Endpoint("h2", "lan1", "fresh", "10.9.0.3/24")
	f.Zone.ApplyEndpoints(store.Change{Reset: true, Items: []store.Item{
		dnstest.Item(f, store.EndpointKey("h2", keep.Endpoint), keep), dnstest.Item(f, store.EndpointKey("h2", fresh.Endpoint), fresh),
	}})
	lan1 := zone.Networks("uuid-lan1")
	for name, want := range map[string]int{"keep": 1, "fresh": 1, "lose": 0} {
		if got := dnstest.Addresses(resolve(f.Zone, lan1, name, miekg.TypeA)); len(got) != want {
			t.Errorf("%s: got %v, want %d addresses", name, got, want)
		}
	}
	if f.Zone.Serial() <= serial {
		t.Errorf("serial %d after %d", f.Zone.Serial(), serial)
	}
	f.Zone.ApplyNetworks(store.Change{Reset: true})
	if m := resolve(f.Zone, zone.Everything(), "keep.lan1.gvlan.internal", miekg.TypeA); m.Rcode != miekg.RcodeNameError {
		t.Errorf("a network whose definition is gone has a zone:\n%v", m)
	}
}

func TestBadDomain(t *testing.T) {
	for _, domain := range []string{"a_b.internal", "two words", "a..b"} {
		if _, err := zone.New(zone.Config{Domain: domain}); err == nil {
			t.Errorf("domain %q was taken", domain)
		}
	}
}

// resolve asks the zone and returns the answer, or nil when the name is not
// the zone's.
func resolve(z *zone.Zone, scope zone.Scope, name string, qtype uint16) *miekg.Msg {
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), qtype)
	q.Id = 7
	m := z.Answer(q, zone.Asker{Scope: scope}).Msg
	return m
}
