package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
)

// TestHosts: each host says how it is, what hangs from its interfaces, and what it
// is to the store.
func TestHosts(t *testing.T) {
	page := get(t, newSite(t, rack()), "/hosts").Body.String()
	for id, want := range map[string]string{
		"host-id1": "h1 socket ready swarm down, stopped this host 3 containers " +
			"Address 192.168.1.11 socket agent 1.4.0, ready for 3 days swarm agent 1.3.9, down, stopped for 1 minute Store leader Gossip answers for 3 days Seen by etcd connected " +
			"eth0 device, MTU 1500, 192.168.1.11/24 media 1 container eth0.20 VLAN 20 vlan, MTU 1500 lan 2 containers Besides wlan0",
		"host-id2": "h2 socket ready, drained swarm down 1 container " +
			"Address 192.168.1.12 socket agent 1.4.0, ready, drained for 6 hours swarm agent 1.4.0, down for 1 hour Store voter, 12 behind Clock in step Gossip answers for 6 hours Last seen 2 seconds ago Seen by etcd connected " +
			"bond0 bond, MTU 9000, 192.168.1.12/24, of eth0 and eth1 (down) media 0 containers office 0 containers bond0.20 VLAN 20 vlan, MTU 9000 lan 1 container no parent own 0 containers",
		"host-id3": "h3 without etcd 0 containers " +
			"Address 192.168.1.13 Agent 1.4.0, without etcd for 20 minutes Store voter does not answer Clock 40s ahead Gossip answers for 20 minutes Last seen 11 seconds ago Seen by etcd away It says no disk space " +
			"eth0 device, MTU 1500 own 0 containers eth0.20 VLAN 20 down vlan, MTU 1500 Its interfaces have changed since it wrote these down. lan: no usable parent interface: eth0.20 is down",
		"host-id4": "h4 evicted 0 containers Address 192.168.1.14 Agent 1.3.9, evicted for 2 days Store no member (it is drained)",
	} {
		if got := words(t, page, id, "</article>"); got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", id, got, want)
		}
	}
	for _, text := range []string{
		"h3 does not answer: one more and nothing can be written", `href="/network?name=own&amp;node=id2"`, `href="/network?name=own&amp;node=id3"`, `href="/host?name=h1"`,
		`<span class="badge good">ready</span>`, `<span class="badge calm">down, stopped</span>`, `<span class="badge bad">down</span>`, `<span class="badge warn">ready, drained</span>`, `<span class="badge warn">40s ahead</span>`, `<span class="badge calm">evicted</span>`,
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %s", text)
		}
	}
}

// TestHostsWithoutTheRest: the page shows what is answered, and says what is not.
func TestHostsWithoutTheRest(t *testing.T) {
	away := fmt.Errorf("read endpoints: %w", store.ErrUnavailable)
	stale := rack()[api.NodesRoute].([]api.NodeView)
	for i := range stale {
		stale[i].Stale, stale[i].Endpoints = true, nil
	}
	for name, test := range map[string]struct {
		others answers
		status int
		has    []string
		lacks  []string
	}{
		"an external etcd": {
			answers{api.StoreRoute: errors.New("this agent uses an etcd that is not gvlan's (--etcd-endpoints)")}, http.StatusOK,
			[]string{"Which hosts keep the store is not said: this agent uses an etcd that is not gvlan&#39;s", "in step"}, []string{"<dt>Store</dt>"},
		},
		"a solo host":    {answers{api.StoreRoute: api.StoreView{Standing: "solo"}}, http.StatusOK, []string{"This host is solo"}, []string{"<dt>Store</dt>"}},
		"a joining host": {answers{api.StoreRoute: api.StoreView{Standing: "joining"}}, http.StatusOK, []string{"This host is joining a cluster"}, []string{"<dt>Store</dt>"}},
		"members that were": {
			answers{api.StoreRoute: api.StoreView{Standing: "cluster", AsOf: noon.Add(-time.Minute), Members: []api.StoreMember{{Node: "id1", Role: "leader"}}}}, http.StatusOK,
			[]string{"The store does not answer this host: its members are those it saw last 1 minute ago", "<dd>leader"}, nil,
		},
		"no members": {
			answers{api.MembersRoute: errors.New("broken")}, http.StatusOK,
			[]string{"When hosts were seen, and their clocks, are not known: broken", "leader", "1 container"}, []string{"Last seen", "in step"},
		},
		"no networks": {
			answers{api.NetworksRoute: away}, http.StatusOK,
			[]string{"How many containers hang from what is not known: read endpoints", "VLAN 20", `href="/network?name=lan"`}, []string{"<small>1 container", "<small>0 containers"},
		},
		"no status":         {answers{api.StatusRoute: errors.New("broken")}, http.StatusOK, []string{"in step", "VLAN 20"}, []string{"this host<"}},
		"etcd that is away": {answers{api.NodesRoute: stale}, http.StatusOK, []string{"which nodes are connected to it is what it said last", "containers not known"}, nil},
		"no hosts":          {answers{api.NodesRoute: away}, http.StatusServiceUnavailable, []string{"Not shown"}, nil},
	} {
		w := get(t, newSite(t, rack().but(test.others)), "/hosts")
		if w.Code != test.status {
			t.Errorf("%s: it is answered %d", name, w.Code)
		}
		for _, text := range test.has {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: there is no %q", name, text)
			}
		}
		for _, text := range test.lacks {
			if strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: there is %q", name, text)
			}
		}
	}
}

// TestOwnClock: where most others' clocks are off, this host's is, and it is said once.
func TestOwnClock(t *testing.T) {
	members := rack()[api.MembersRoute].([]api.MemberView)
	off := -2 * time.Minute
	members[1].ClockAhead, members[2].ClockAhead = &off, &off
	page := get(t, newSite(t, rack().but(answers{api.MembersRoute: members})), "/hosts").Body.String()
	if !strings.Contains(page, "this host&#39;s clock is 2m0s ahead of most others&#39;") || strings.Count(page, `<span class="badge calm">2m0s behind</span>`) != 2 {
		t.Errorf("it is not said in %s", page)
	}
	kind := func(ahead, trip time.Duration) string {
		return clockBadge(api.MemberView{ClockAhead: &ahead, RTT: trip}, false).Kind
	}
	for ahead, want := range map[time.Duration]string{0: "good", -2 * time.Second: "good", 3 * time.Second: "warn", -61 * time.Second: "bad"} {
		if got := kind(ahead, 0); got != want {
			t.Errorf("a clock that is %s ahead is %s, want %s", ahead, got, want)
		}
	}
	if got := kind(3*time.Second, 2*time.Second); got != "good" {
		t.Errorf("what may be the way's is %s", got)
	}
}

// TestHost shows one in full, by whatever it is called.
func TestHost(t *testing.T) {
	site := newSite(t, rack())
	for _, name := range []string{"h2", "id2", "id2.swarm"} {
		page := get(t, site, "/host?name="+name).Body.String()
		for id, want := range map[string]string{
			"agent-id2":          "socket ready, drained 6 hours 1.4.0 1 192.168.1.12 id2",
			"agent-id2.swarm":    "swarm down 1 hour 1.4.0 0 192.168.1.12 id2.swarm",
			"fares-u-lan":        "lan ready bond0.20",
			"fares-u-office":     "office ready bond0",
			"interface-bond0.20": "bond0.20 up vlan 20 9000 bond0 lan",
			"interface-eth1":     "eth1 down device 9000 bond0",
		} {
			if got := words(t, page, id, "</tr>"); got != want {
				t.Errorf("of %s %s is shown as\n%s, want\n%s", name, id, got, want)
			}
		}
		if strings.Contains(page, "host-id1") {
			t.Errorf("the page of %s has another host", name)
		}
	}
	if got, want := words(t, get(t, site, "/host?name=h3").Body.String(), "fares-u-lan", "</tr>"), "lan not usable no usable parent interface: eth0.20 is down"; got != want {
		t.Errorf("it is shown as %s, want %s", got, want)
	}
	for path, want := range map[string]int{"/host?name=h9": http.StatusNotFound, "/host": http.StatusBadRequest, "/host?name=": http.StatusBadRequest} {
		if w := get(t, site, path); w.Code != want {
			t.Errorf("%s is answered %d, want %d", path, w.Code, want)
		}
	}
}

// TestRingOfInterfaces: what a host tells of its interfaces may hang from itself, and
// is shown once all the same.
func TestRingOfInterfaces(t *testing.T) {
	one := api.NodeView{Node: "id1", Name: "h1", State: "ready", Interfaces: []store.Interface{
		{Name: "a", Parent: "b", UsedBy: []string{"lan"}}, {Name: "b", Parent: "c"}, {Name: "c", Parent: "a"},
		{Name: "d", Parent: "d", UsedBy: []string{"lan"}}, {Name: "e", Master: "e", UsedBy: []string{"lan"}}, {Name: "f", Parent: "gone", Master: "gone", UsedBy: []string{"lan"}},
		{Name: "g", Parent: "a", UsedBy: []string{"lan"}},
	}}
	page := get(t, newSite(t, rack().but(answers{api.NodesRoute: []api.NodeView{one}})), "/hosts").Body.String()
	for _, name := range []string{"a", "d", "e", "f", "g"} {
		if n := strings.Count(page, `<span class="mono">`+name+`</span>`); n != 1 {
			t.Errorf("%s is shown %d times", name, n)
		}
	}
}

// TestSlavesInUse: what hangs from a slave of a bridge is shown, and an idle slave with its
// bridge only.
func TestSlavesInUse(t *testing.T) {
	one := api.NodeView{Node: "id1", Name: "h1", State: "ready", Interfaces: []store.Interface{
		{Name: "br0", Kind: "bridge", Up: true, UsedBy: []string{"office"}}, {Name: "eth0", Kind: "device", Up: true, Master: "br0"},
		{Name: "eth0.10", Kind: "vlan", VLAN: 10, Up: true, Parent: "eth0", UsedBy: []string{"lan"}}, {Name: "eth0.20", Kind: "vlan", VLAN: 20, Up: true, Parent: "eth0", Master: "br0"},
	}}
	site := newSite(t, rack().but(answers{api.NodesRoute: []api.NodeView{one}}))
	page := get(t, site, "/hosts").Body.String()
	_, tree, _ := strings.Cut(page, `<ul class="tree"`)
	tree, _, _ = strings.Cut(tree, "</article>")
	for text, want := range map[string]int{
		`<span class="mono">br0</span>`: 1, `<span class="mono">eth0</span>`: 1, `<span class="mono">eth0.10</span>`: 1, `<span class="mono">eth0.20</span>`: 0,
		">office</a>": 1, ">lan</a>": 1, "of eth0 and eth0.20": 1,
	} {
		if n := strings.Count(tree, text); n != want {
			t.Errorf("%s is there %d times, want %d: %s", text, n, want, tree)
		}
	}
	if got, want := words(t, get(t, site, "/host?name=id1").Body.String(), "interface-eth0.20", "</tr>"), "eth0.20 up vlan 20 0 br0, eth0"; got != want {
		t.Errorf("a VLAN that is a slave is listed as %s, want %s", got, want)
	}
}

// TestTheHostThatServes is the one whose page it is, whichever of its agents serves it.
func TestTheHostThatServes(t *testing.T) {
	for _, node := range []string{"id2", "id2.swarm"} {
		page := get(t, newSite(t, rack().but(answers{api.StatusRoute: api.Status{Node: node}})), "/hosts").Body.String()
		if got := words(t, page, "host-id2", "</article>"); !strings.Contains(got, "this host") || strings.Count(page, ">this host<") != 1 {
			t.Errorf("of %s it is shown as %s", node, got)
		}
	}
}
