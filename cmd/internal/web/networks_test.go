package web

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/ipam/survey"
)

// rack is what the agent of h1 answers where three hosts have networks of every kind
// and something is wrong with most.
func rack() answers {
	nodes, members := rackNodes()
	return answers{
		api.NetworksRoute:              rackNetworks(),
		api.NetworkRoute + "?name=lan": rackNetworks()[0], api.NetworkRoute + "?name=media": rackNetworks()[1], api.NetworkRoute + "?name=office": rackNetworks()[2],
		api.PoolsRoute: rackPools(), api.NodesRoute: nodes, api.MembersRoute: members,
		api.StoreRoute: api.StoreView{
			Standing: "cluster",
			Members: []api.StoreMember{
				{Node: "id1", Host: "h1", Address: "192.168.1.11:2379", Role: "leader", Size: 3 << 20},
				{Node: "id2", Host: "h2", Address: "192.168.1.12:2379", Role: "voter", Size: 3 << 20, Lag: 12},
				{Node: "id3", Host: "h3", Address: "192.168.1.13:2379", Role: "voter", Why: "does not answer"},
			},
			Hosts:    []api.StoreHost{{Node: "id4", Host: "h4", Why: "it is drained"}},
			Warnings: []string{"h3 does not answer: one more and nothing can be written (start its agent)"},
		},
		api.StatusRoute: api.Status{Node: "id1"},
	}
}

// but is the same with other answers to some routes.
func (a answers) but(others answers) answers {
	all := maps.Clone(a)
	maps.Copy(all, others)
	return all
}

func rackNetworks() []api.NetworkView {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	return []api.NetworkView{
		{
			Name: "lan", UUID: "u-lan", Scope: "global", State: "active", Origin: "id1", Segment: "default", Reserved: 4,
			Options:   map[string]string{"parent": "eth0.20, bond0.20", "macvlan_mode": "bridge"},
			Pools:     []store.Pool{{Subnet: prefix("192.168.20.0/24"), Range: prefix("192.168.20.128/25"), Gateway: addr("192.168.20.1")}},
			Overrides: store.Overrides{Cooldown: "5m"},
			Hosts: []api.NetworkHost{
				{Node: "id1", Name: "h1", Connected: true, State: "committed", Parent: "eth0.20", Links: []string{"eth0.20"}, HostAccess: "on", Endpoints: []api.EndpointView{
					{Container: "web-1", IPv4: "192.168.20.130/24", MAC: "02:42:c0:a8:14:82", Parent: "eth0.20", Fixed: []string{"192.168.20.10/24"}, Waits: []string{"192.168.20.11"}},
					{Container: "db-1", IPv4: "192.168.20.131/24", MAC: "02:42:c0:a8:14:83", Parent: "eth0.20"},
				}},
				{Node: "id2", Name: "h2", Connected: true, State: "replica", Parent: "bond0.20", Links: []string{"bond0.20"}, HostAccess: "off: macvlan_mode=private", Endpoints: []api.EndpointView{
					{Container: "web-2", IPv4: "192.168.20.132/24", MAC: "02:42:c0:a8:14:84", Parent: "bond0.20"},
				}},
				{Node: "id3", Name: "h3", Connected: true, State: "replica", Why: "no usable parent interface: eth0.20 is down, bond0 does not exist"},
			},
		},
		{
			Name: "media", UUID: "u-media", Scope: "global", State: "active", Origin: "id2", Segment: "default",
			Options: map[string]string{"parent": "default-route", "ipvlan_mode": "l3"},
			Pools:   []store.Pool{{Subnet: prefix("10.65.0.0/16")}, {Subnet: prefix("fd00:65::/64")}},
			Hosts: []api.NetworkHost{
				{Node: "id1", Name: "h1", Connected: true, State: "replica", Parent: "eth0", HostRoutes: "on", Endpoints: []api.EndpointView{
					{Container: "stream-1", IPv4: "10.65.0.2/16", IPv6: "fd00:65::2/64", MAC: "02:42:0a:41:00:02", Parent: "eth0"},
				}},
				{Node: "id2", Name: "h2", Connected: true, State: "committed", Parent: "bond0", HostRoutes: "off: --host-routes off", Unrouted: "bond0 has no IPv6 address"},
				{Node: "id3", Name: "h3", Connected: true, State: "missing"},
			},
		},
		{
			Name: "office", UUID: "u-office", Scope: "swarm", State: "removing", Origin: "id1.swarm", Segment: "default",
			Pools: []store.Pool{{Subnet: prefix("172.30.0.0/28"), Gateway: addr("172.30.0.1")}},
			Hosts: []api.NetworkHost{{Node: "id1.swarm", Name: "h1", Connected: true, State: "no task"}, {Node: "id2.swarm", Name: "h2", State: "swarm", Parent: "bond0"}},
		},
		{
			Name: "own", UUID: "u-own", Scope: "local", State: "active", Origin: "id2", Segment: "lab",
			Pools: []store.Pool{{Subnet: prefix("10.9.0.0/24")}},
			Hosts: []api.NetworkHost{{Node: "id2", Name: "h2", Connected: true, State: "local"}},
		},
		{
			Name: "own", UUID: "u-own3", Scope: "local", State: "active", Origin: "id3", Segment: "lab",
			Pools: []store.Pool{{Subnet: prefix("10.9.0.0/24")}},
			Hosts: []api.NetworkHost{{Node: "id3", Name: "h3", Connected: true, State: "local", Parent: "eth0"}},
		},
	}
}

func rackPools() []api.PoolView {
	prefix := netip.MustParsePrefix
	return []api.PoolView{
		{
			Pool:   survey.Pool{Network: "lan", Segment: "default", Subnet: prefix("192.168.20.0/24"), Ranges: []string{"192.168.20.128/25"}, Excluded: []string{"192.168.20.200-192.168.20.210"}, Size: 128, Used: 57, Resting: 6, Reserved: 16, Free: 49, Beside: 2},
			ByHost: map[string]int{"h1": 40, "h2": 17}, Grows: 20, FullAt: noon.Add(3 * 24 * time.Hour),
		},
		{Pool: survey.Pool{Network: "media", Segment: "default", Subnet: prefix("10.65.0.0/16"), Size: 65536, Used: 214, Resting: 3, Reserved: 2, Free: 65317}},
		{Pool: survey.Pool{Network: "media", Segment: "default", Subnet: prefix("fd00:65::/64"), Size: 1.8446744073709552e19, Used: 214, Reserved: 1, Free: 1.8446744073709552e19}},
		{Pool: survey.Pool{Network: "office", Segment: "default", Subnet: prefix("172.30.0.0/28"), Size: 16, Used: 13, Reserved: 3}},
		{Pool: survey.Pool{Network: "own", Segment: "lab", Node: "id2", Subnet: prefix("10.9.0.0/24"), Size: 256, Used: 100, Reserved: 2, Free: 154}},
		{Pool: survey.Pool{Network: "own", Segment: "lab", Node: "id3", Subnet: prefix("10.9.0.0/24"), Size: 256, Used: 7, Reserved: 2, Free: 247}},
	}
}

// rackNodes are the hosts, and how the gossip sees their nodes.
func rackNodes() ([]api.NodeView, []api.MemberView) {
	three, one, none := 3, 1, 0
	ahead, little := 40*time.Second, 3*time.Millisecond
	return []api.NodeView{
			{
				Node: "id1", Name: "h1", Host: "h1", Address: "192.168.1.11", State: "ready", Since: noon.Add(-90 * time.Hour), Version: "1.4.0", Epoch: 3, Endpoints: &three,
				Interfaces: []store.Interface{
					{Name: "eth0", Kind: "device", Up: true, MTU: 1500, Addresses: []string{"192.168.1.11/24"}, Default: true, UsedBy: []string{"media"}},
					{Name: "eth0.20", Kind: "vlan", Up: true, MTU: 1500, Parent: "eth0", VLAN: 20, UsedBy: []string{"lan"}},
					{Name: "wlan0", Kind: "device", Up: true, MTU: 1500, Wireless: true},
				},
				Networks: []store.NodeNetwork{{UUID: "u-lan", Name: "lan", State: "committed", Parent: "eth0.20"}, {UUID: "u-media", Name: "media", State: "replica", Parent: "eth0"}},
				Swarm:    &api.NodeView{Node: "id1.swarm", Name: "h1", Host: "h1", Address: "192.168.1.11", State: "down", Stopped: true, Since: noon.Add(-time.Minute), Version: "1.3.9", Epoch: 1, Endpoints: &none},
			},
			{
				Node: "id2", Name: "h2", Host: "h2", Address: "192.168.1.12", State: "ready", Since: noon.Add(-6 * time.Hour), Version: "1.4.0", Epoch: 1, Endpoints: &one, Drained: true,
				Interfaces: []store.Interface{
					{Name: "bond0", Kind: "bond", Up: true, MTU: 9000, Addresses: []string{"192.168.1.12/24"}, Default: true, UsedBy: []string{"media", "office"}},
					{Name: "bond0.20", Kind: "vlan", Up: true, MTU: 9000, Parent: "bond0", VLAN: 20, UsedBy: []string{"lan"}},
					{Name: "eth0", Kind: "device", Up: true, MTU: 9000, Master: "bond0"},
					{Name: "eth1", Kind: "device", MTU: 9000, Master: "bond0"},
				},
				Networks: []store.NodeNetwork{{UUID: "u-lan", Name: "lan", State: "replica", Parent: "bond0.20"}, {UUID: "u-media", Name: "media", State: "committed", Parent: "bond0"}, {UUID: "u-own", Name: "own", State: "local"}},
				Swarm:    &api.NodeView{Node: "id2.swarm", Name: "h2", Host: "h2", Address: "192.168.1.12", State: "down", Since: noon.Add(-time.Hour), Version: "1.4.0", Endpoints: &none, Networks: []store.NodeNetwork{{UUID: "u-office", Name: "office", State: "swarm", Parent: "bond0"}}},
			},
			{
				Node: "id3", Name: "h3", Host: "h3", Address: "192.168.1.13", State: "detached", Since: noon.Add(-20 * time.Minute), Version: "1.4.0", Epoch: 9, Endpoints: &none, StaleParents: true,
				Interfaces: []store.Interface{
					{Name: "eth0", Kind: "device", Up: true, MTU: 1500, UsedBy: []string{"own"}},
					{Name: "eth0.20", Kind: "vlan", MTU: 1500, Parent: "eth0", VLAN: 20},
				},
				Networks: []store.NodeNetwork{{UUID: "u-lan", Name: "lan", State: "replica", Why: "no usable parent interface: eth0.20 is down"}, {UUID: "u-own3", Name: "own", State: "local", Parent: "eth0"}},
			},
			{Node: "id4", Name: "h4", Host: "h4", Address: "192.168.1.14", State: "evicted", Since: noon.Add(-48 * time.Hour), Version: "1.3.9", Evicted: true, Endpoints: &none},
		}, []api.MemberView{
			{Node: "id1", Name: "h1", Address: "192.168.1.11:7947", Gossip: "alive", Etcd: "connected", Since: noon.Add(-90 * time.Hour)},
			{Node: "id2", Name: "h2", Address: "192.168.1.12:7947", Gossip: "alive", Etcd: "connected", Since: noon.Add(-6 * time.Hour), Direct: noon.Add(-2 * time.Second), RTT: 400 * time.Microsecond, ClockAhead: &little},
			{Node: "id3", Name: "h3", Address: "192.168.1.13:7947", Gossip: "alive", Etcd: "away", Since: noon.Add(-20 * time.Minute), Direct: noon.Add(-11 * time.Second), RTT: 900 * time.Microsecond, ClockAhead: &ahead, Remarks: []string{"no disk space"}},
			{Node: "id1.swarm", Name: "h1 (swarm)", Gossip: "left", Etcd: "away"},
		}
}

// words is what a part of a page says, that begins with an element's id and ends as
// is said.
func words(t *testing.T, page, id, end string) string {
	t.Helper()
	_, after, found := strings.Cut(page, `id="`+id+`"`)
	if !found {
		t.Fatalf("there is no %s in %s", id, page)
	}
	part, _, _ := strings.Cut(after, end)
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString("<"+part, " ")
	return strings.Join(strings.Fields(text), " ")
}

// TestNetworks: each network says how full, where and on what it is, and what is
// wrong.
func TestNetworks(t *testing.T) {
	site := newSite(t, rack())
	page := get(t, site, "/").Body.String()
	for id, want := range map[string]string{
		"network-u-lan": "lan not on every host global macvlan_mode=bridge parent=eth0.20, bond0.20 cooldown=5m 2/3 hosts · 3 containers " +
			"192.168.20.0/24 57 used 6 resting 16 reserved 49 free of 128 full in 3 days " +
			"h1 ready eth0.20 VLAN 20 h2 ready bond0.20 VLAN 20 h3 not usable " +
			"on h3: no usable parent interface: eth0.20 is down, bond0 does not exist host access off: macvlan_mode=private (h2)",
		"network-u-media": "media not on every host global ipvlan_mode=l3 parent=default-route 2/3 hosts · 1 container " +
			"10.65.0.0/16 214 used 3 resting 2 reserved 65317 free of 65536 fd00:65::/64 214 used 0 resting 1 reserved 2^64 free of 2^64 " +
			"h1 ready eth0 h2 ready bond0 h3 not made yet " +
			"no routes to: bond0 has no IPv6 address (h2) routes between off: --host-routes off (h2)",
		"network-u-office": "office being removed swarm 1 host · 0 containers 172.30.0.0/28 13 used 0 resting 3 reserved 0 free of 16 full " +
			"h1 no task there h2 agent away bond0 172.30.0.0/28 is full",
		"network-u-own":  "own active local: only on h2 1/1 hosts · 0 containers 10.9.0.0/24 100 used 0 resting 2 reserved 154 free of 256 h2 ready",
		"network-u-own3": "own active local: only on h3 1/1 hosts · 0 containers 10.9.0.0/24 7 used 0 resting 2 reserved 247 free of 256 h3 ready eth0",
	} {
		if got := words(t, page, id, "</article>"); got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", id, got, want)
		}
	}
	for _, link := range []string{
		`href="/subnet?network=lan&amp;subnet=192.168.20.0%2F24"`, `href="/subnet?network=own&amp;node=id3&amp;subnet=10.9.0.0%2F24"`,
		`href="/network?name=lan"`, `href="/network?name=own&amp;node=id2"`, `href="/host?name=h3"`, `id="network-u-lan-id1"`, `id="network-u-media-1"`,
	} {
		if !strings.Contains(page, link) {
			t.Errorf("the page has no %s", link)
		}
	}
}

// TestDownParent is told of a network whose host does not say why yet.
func TestDownParent(t *testing.T) {
	networks, nodes := rackNetworks(), rack()[api.NodesRoute].([]api.NodeView)
	nodes[0].Interfaces[1].Up = false
	page := get(t, newSite(t, rack().but(answers{api.NetworksRoute: networks[:1], api.NodesRoute: nodes})), "/").Body.String()
	if got := words(t, page, "network-u-lan", "</article>"); !strings.Contains(got, "eth0.20 VLAN 20 down") || !strings.Contains(got, "on h1: eth0.20 is down") {
		t.Errorf("it is shown as %s", got)
	}
}

// TestBars: a bar is as long as what it counts, one part after the other, and no part
// that is there is invisible.
func TestBars(t *testing.T) {
	for _, test := range []struct {
		used, resting, reserved, free float64
		want                          string
	}{
		{50, 25, 25, 0, "0.00% 50.00% 50.00% 25.00% 75.00% 25.00% 100.00% 0.00%"},
		{0, 0, 0, 256, "0.00% 0.00% 0.00% 0.00% 0.00% 0.00% 0.00% 100.00%"},
		{3, 0, 0, 1 << 62, "0.00% 0.40% 0.40% 0.00% 0.40% 0.00% 0.40% 99.60%"},
		{255, 0, 1, 0, "0.00% 99.61% 99.61% 0.00% 99.61% 0.39% 100.00% 0.00%"},
		{0, 0, 0, 0, "0.00% 0.00% 0.00% 0.00% 0.00% 0.00% 0.00% 0.00%"},
	} {
		var row subnetRow
		var pool api.PoolView
		pool.Used, pool.Resting, pool.Reserved, pool.Free, pool.Size = test.used, test.resting, test.reserved, test.free, test.used+test.resting+test.reserved+test.free
		row.count(pool, noon)
		var got []string
		for _, p := range row.Parts {
			got = append(got, p.From, p.Width)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("of %v the bar is %s, want %s", pool.Pool, got, test.want)
		}
	}
}

// TestNetworksWithoutTheRest: a page shows what is answered, and says what is not.
func TestNetworksWithoutTheRest(t *testing.T) {
	away := fmt.Errorf("read leases: %w", store.ErrUnavailable)
	for name, test := range map[string]struct {
		others answers
		status int
		has    []string
		lacks  []string
	}{
		"no counts":   {answers{api.PoolsRoute: away}, http.StatusOK, []string{"How full the subnets are is not known: read leases", "addresses from 192.168.20.128/25, gateway 192.168.20.1", "VLAN 20"}, []string{"57</b>"}},
		"no hosts":    {answers{api.NodesRoute: errors.New("broken")}, http.StatusOK, []string{"VLANs, and whether parents are up, are not known: broken", "eth0.20", "57</b>"}, []string{"VLAN 20"}},
		"no problems": {answers{api.StatusRoute: errors.New("broken")}, http.StatusOK, []string{"57</b>"}, nil},
		"no networks": {answers{api.NetworksRoute: away}, http.StatusServiceUnavailable, []string{"Not shown", "read leases"}, []string{"57</b>"}},
		"none yet":    {answers{api.NetworksRoute: []api.NetworkView{}}, http.StatusOK, []string{"There is no network yet"}, nil},
	} {
		w := get(t, newSite(t, rack().but(test.others)), "/")
		has := func(text string) bool { return strings.Contains(w.Body.String(), text) }
		if w.Code != test.status {
			t.Errorf("%s: it is answered %d", name, w.Code)
		}
		for _, text := range test.has {
			if !has(text) {
				t.Errorf("%s: there is no %q", name, text)
			}
		}
		for _, text := range test.lacks {
			if has(text) {
				t.Errorf("%s: there is %q", name, text)
			}
		}
	}
}

// TestNetworksWhileEtcdIsAway are as it said last, and say from when.
func TestNetworksWhileEtcdIsAway(t *testing.T) {
	networks := rackNetworks()
	for i := range networks {
		networks[i].AsOf = noon.Add(-90 * time.Second)
	}
	site := newSite(t, rack().but(answers{api.NetworksRoute: networks, api.NetworkRoute + "?name=lan": networks[0]}))
	for _, path := range []string{"/", "/network?name=lan"} {
		if page := get(t, site, path).Body.String(); !strings.Contains(page, "etcd does not answer this host: this is what it said 90 seconds ago") {
			t.Errorf("%s is shown as if it were of now", path)
		}
	}
}

// TestNetwork shows one in full.
func TestNetwork(t *testing.T) {
	site := newSite(t, rack())
	page := get(t, site, "/network?name=lan").Body.String()
	for id, want := range map[string]string{
		"network-u-lan-0":              "192.168.20.0/24 57 used 6 resting 16 reserved 49 free of 128 full in 3 days",
		"network-u-lan-0-more":         "Made with 192.168.20.0/24, addresses from 192.168.20.128/25, gateway 192.168.20.1 Ranges 192.168.20.128/25 Excluded 192.168.20.200-192.168.20.210 Beside the ranges 2 Addresses by host h1 40, h2 17",
		"network-u-lan-id1":            "h1 ready eth0.20 VLAN 20 1500 eth0.20 2",
		"network-u-lan-id3":            "h3 not usable 0 no usable parent interface: eth0.20 is down, bond0 does not exist",
		"member-id1-02:42:c0:a8:14:82": "web-1 h1 192.168.20.130 , 192.168.20.10 waits for 192.168.20.11 02:42:c0:a8:14:82 eth0.20",
	} {
		end := "</tr>"
		if strings.Contains(id, "u-lan-0") {
			end = "</li>"
		}
		if got := words(t, page, id, end); got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", id, got, want)
		}
	}
	if got, want := words(t, page, "main", "</section>"), "Hosts 2/3 Containers 3 State active Made on h1 Segment default Reserved by operators 4 host access on (h1) host access off: macvlan_mode=private (h2) Options macvlan_mode=bridge parent=eth0.20, bond0.20 Changed since cooldown=5m Id u-lan"; !strings.Contains(got, want) {
		t.Errorf("it is shown as\n%s, want\n%s", got, want)
	}
	for _, link := range []string{`href="/lease?address=192.168.20.10&amp;network=lan&amp;segment=default"`, `href="/search?q=web-1"`, `href="/v1/network?name=lan"`} {
		if !strings.Contains(page, link) {
			t.Errorf("the page has no %s", link)
		}
	}
	for path, want := range map[string]int{
		"/network?name=own&node=id3": http.StatusOK, "/network?name=own&node=id9": http.StatusNotFound, "/network": http.StatusBadRequest, "/network?name=": http.StatusBadRequest,
	} {
		if w := get(t, site, path); w.Code != want {
			t.Errorf("%s is answered %d, want %d", path, w.Code, want)
		}
	}
	if page := get(t, site, "/network?name=own&node=id3").Body.String(); words(t, page, "network-u-own3-id3", "</tr>") != "h3 ready eth0 1500 0" || !strings.Contains(page, `href="/v1/networks"`) {
		t.Errorf("the network of one host is %s", page)
	}
}

// TestManyHosts of a network are folded away, but for those where something is wrong.
func TestManyHosts(t *testing.T) {
	n := rackNetworks()[0]
	n.Hosts = n.Hosts[:2]
	n.Hosts[1].Why = "no usable parent interface"
	for i := range 98 {
		n.Hosts = append(n.Hosts, api.NetworkHost{Node: fmt.Sprint("other", i), Name: fmt.Sprint("other", i), Connected: true, State: "replica"})
	}
	page := get(t, newSite(t, rack().but(answers{api.NetworksRoute: []api.NetworkView{n}})), "/").Body.String()
	open, folded, _ := strings.Cut(page, "<details")
	if strings.Count(open, `class="tile `) != 1 || !strings.Contains(page, "on h2: no usable parent") || strings.Count(folded, `class="tile `) != 99 || !strings.Contains(folded, "99 hosts where nothing is wrong") {
		t.Errorf("hosts are listed as\n%s", page)
	}
}

// TestManyMembers are not all of them listed.
func TestManyMembers(t *testing.T) {
	n := rackNetworks()[0]
	n.Hosts[0].Endpoints = make([]api.EndpointView, 10_000)
	page := get(t, newSite(t, rack().but(answers{api.NetworkRoute + "?name=lan": n})), "/network?name=lan").Body.String()
	if rows := strings.Count(page, `id="member-`); rows != mostMembers || !strings.Contains(page, "9501 more are not listed") {
		t.Errorf("%d containers are listed", rows)
	}
}
