package hostroute_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/cluster/store"
	"gvlan/driver/hostroute"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/route"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
)

// routed is a network whose subnets are dealt out in blocks of so many bits.
func routed(id string, blocks map[netip.Prefix]int) hostroute.Network {
	return hostroute.Network{Network: journal.Network{
		ID: id, UUID: "uuid-" + id, Name: id, Stage: journal.StageReplica, Options: option.Options{Parent: "eth1", Kind: link.Ipvlan, Mode: link.L3},
	}, Parent: "eth1", Blocks: blocks}
}

// onCard is a node with addresses on its eth1.
func onCard(name string, addresses ...string) store.Node {
	return store.Node{Node: name, Host: name, Interfaces: []store.Interface{{Name: "eth1", Addresses: addresses}}}
}

// located is an address of network "n".
func located(address, node string) hostroute.Located {
	return hostroute.Located{Address: addr(address), Node: node, Network: "uuid-n", Parent: "eth1", Since: 1}
}

// view is h1, of three hosts on one LAN.
func view(blocks map[netip.Prefix]int, all ...hostroute.Located) hostroute.View {
	return hostroute.View{
		Node: "h1", Networks: []hostroute.Network{routed("n", blocks)}, Located: all,
		Nodes: map[string]store.Node{
			"h1": onCard("h1", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"),
			"h2": onCard("h2", "192.0.2.2/24", "2001:db8::2/64", "fe80::2/64"),
			"h3": onCard("h3", "192.0.2.3/24", "fe80::3/64"),
		},
		Own: []route.Address{
			{Link: "eth1", Prefix: pfx("192.0.2.1/24")}, {Link: "eth1", Prefix: pfx("2001:db8::1/64")},
			{Link: "eth1", Prefix: pfx("fe80::1/64"), Local: true}, {Link: "lo", Prefix: pfx("127.0.0.1/8"), Local: true},
		},
	}
}

// told is what there should be, as `ip route` writes it.
func told(p hostroute.Plan) (all []string) {
	for _, w := range p.Ways {
		all = append(all, w.String())
	}
	return all
}

func announced(p hostroute.Plan) (all []string) {
	for _, r := range p.Announce {
		all = append(all, r.String())
	}
	return all
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var dealt = map[netip.Prefix]int{pfx("10.1.0.0/16"): 26, pfx("fd00:1::/64"): 122}

func TestOneRouteForEachContainer(t *testing.T) {
	p := hostroute.Desire(view(nil, located("10.1.0.9", "h2"), located("fd00:1::9", "h2"), located("10.1.0.5", "h3"), located("fd00:1::5", "h3"), located("10.1.0.7", "h1")))
	same(t, "routes", told(p),
		"10.1.0.5/32 via 192.0.2.3 dev eth1", "10.1.0.9/32 via 192.0.2.2 dev eth1",
		"fd00:1::5/128 via fe80::3 dev eth1", "fd00:1::9/128 via 2001:db8::2 dev eth1")
	if len(p.Lacks) > 0 || len(p.Announce) > 0 {
		t.Errorf("it lacks %v and announces %v, want nothing", p.Lacks, p.Announce)
	}
}

// TestOneRouteForABlock: who has most of a block has it, and what others have in it is
// led to by itself. What nobody has of one's own block is unreachable.
func TestOneRouteForABlock(t *testing.T) {
	p := hostroute.Desire(view(dealt,
		located("10.1.0.1", "h1"), located("10.1.0.2", "h1"), located("10.1.0.3", "h2"),
		located("10.1.0.65", "h2"), located("10.1.0.66", "h2"), located("10.1.0.67", "h1"), located("10.1.0.68", "h3"),
		located("fd00:1::41", "h3"),
	))
	same(t, "routes", told(p),
		"unreachable 10.1.0.0/26", "10.1.0.64/26 via 192.0.2.2 dev eth1", "fd00:1::40/122 via fe80::3 dev eth1",
		"10.1.0.3/32 via 192.0.2.2 dev eth1", "10.1.0.68/32 via 192.0.2.3 dev eth1")
}

// TestHalfABlock: of hosts that have as much of a block every host says the same one.
func TestHalfABlock(t *testing.T) {
	all := []hostroute.Located{located("10.1.0.1", "h3"), located("10.1.0.2", "h2")}
	slices.Reverse(all)
	for range 20 {
		slices.Reverse(all)
		same(t, "routes", told(hostroute.Desire(view(dealt, all...))), "10.1.0.0/26 via 192.0.2.2 dev eth1", "10.1.0.1/32 via 192.0.2.3 dev eth1")
	}
}

// TestBlocksKeepOffTheLAN: a network may have the LAN's own subnet; a route to a block
// of it would lead the LAN's machines away.
func TestBlocksKeepOffTheLAN(t *testing.T) {
	lan := map[netip.Prefix]int{pfx("192.0.2.0/24"): 26}
	p := hostroute.Desire(view(lan, located("192.0.2.70", "h2"), located("192.0.2.130", "h1")))
	same(t, "routes", told(p), "192.0.2.70/32 via 192.0.2.2 dev eth1")
	v := view(dealt, located("10.1.0.65", "h2"))
	v.Own = append(v.Own, route.Address{Link: "eth2", Prefix: pfx("10.1.0.70/32")}, route.Address{Link: "lo", Prefix: pfx("10.1.0.71/26"), Local: true})
	same(t, "routes beside addresses of no LAN", told(hostroute.Desire(v)), "10.1.0.64/26 via 192.0.2.2 dev eth1")
}

// TestNoRouteToItself: what a host has itself it does not lead elsewhere.
func TestNoRouteToItself(t *testing.T) {
	same(t, "routes", told(hostroute.Desire(view(nil, located("192.0.2.1", "h2")))))
}

// TestMoved: of two records of one address, while a container moves, the latest
// counts, in whatever order they come.
func TestMoved(t *testing.T) {
	later := located("10.1.0.9", "h3")
	later.Since = 2
	for _, all := range [][]hostroute.Located{{located("10.1.0.9", "h2"), later}, {later, located("10.1.0.9", "h2")}} {
		same(t, "routes", told(hostroute.Desire(view(nil, all...))), "10.1.0.9/32 via 192.0.2.3 dev eth1")
	}
}

func TestWhoHasNoRoutes(t *testing.T) {
	for name, change := range map[string]func(v *hostroute.View){
		"off":       func(v *hostroute.View) { v.Networks[0].Options.HostRoutes = option.HostRoutesOff },
		"agent off": func(v *hostroute.View) { v.Defaults.NoRoutes = true },
		"l2":        func(v *hostroute.View) { v.Networks[0].Options.Mode = link.L2 },
		"macvlan": func(v *hostroute.View) {
			v.Networks[0].Options = option.Options{Parent: "eth1", Kind: link.Macvlan, Mode: link.Bridge}
		},
		"internal":  func(v *hostroute.View) { v.Networks[0].Internal = true },
		"local":     func(v *hostroute.View) { v.Networks[0].Stage = journal.StageLocal },
		"manager's": func(v *hostroute.View) { v.Networks[0].ID = store.ManagerNetwork(v.Networks[0].UUID) },
		"no parent": func(v *hostroute.View) { v.Networks[0].Parent = "" },
		"another":   func(v *hostroute.View) { v.Located[0].Network = "uuid-other" },
	} {
		t.Run(name, func(t *testing.T) {
			v := view(nil, located("10.1.0.9", "h2"))
			change(&v)
			p := hostroute.Desire(v)
			if same(t, "routes", told(p)); len(p.Lacks) > 0 {
				t.Errorf("it lacks %v, want nothing", p.Lacks)
			}
		})
	}
	v := view(nil, located("10.1.0.9", "h2"))
	v.Networks[0].Stage, v.Networks[0].Options.Mode = journal.StageSwarm, link.L3S
	same(t, "a swarm's routes", told(hostroute.Desire(v)), "10.1.0.9/32 via 192.0.2.2 dev eth1")
}

// TestLacks: what keeps a host from having routes is named with its cure, once, and
// the others are there.
func TestLacks(t *testing.T) {
	both := []hostroute.Located{located("10.1.0.9", "h2"), located("10.1.0.10", "h2"), located("10.1.0.5", "h3")}
	const h2, h3 = "10.1.0.9/32 via 192.0.2.2 dev eth1", "10.1.0.5/32 via 192.0.2.3 dev eth1"
	for name, tt := range map[string]struct {
		change func(v *hostroute.View)
		kind   error
		says   string
		routes []string
	}{
		"they have none": {func(v *hostroute.View) { v.Nodes["h2"] = onCard("h2", "2001:db8::2/64") }, hostroute.ErrNoAddress,
			"h2 has no address on the network's parent eth1: give it one of IPv4 there", []string{h3}},
		"this one has none": {func(v *hostroute.View) { v.Own = v.Own[1:] }, hostroute.ErrNoAddress,
			"this host has no address on the network's parent eth1: give it one of IPv4", nil},
		"another LAN": {func(v *hostroute.View) { v.Nodes["h2"] = onCard("h2", "198.51.100.2/24") }, hostroute.ErrNoLAN,
			"what h2 has on eth1 (198.51.100.2/24) is in no subnet of eth1: such hosts need routers that speak BGP (--bgp-peer)", []string{h3}},
		"its address is ours": {func(v *hostroute.View) { v.Nodes["h2"] = onCard("h2", "192.0.2.1/24") }, hostroute.ErrNoLAN, "no LAN", []string{h3}},
	} {
		t.Run(name, func(t *testing.T) {
			v := view(nil, both...)
			tt.change(&v)
			p := hostroute.Desire(v)
			same(t, "routes", told(p), tt.routes...)
			why := p.Lacks["n"]
			if why == nil || tt.kind != nil && !errors.Is(why, tt.kind) || strings.Count(why.Error(), tt.says) != 1 {
				t.Errorf("it lacks %v, want %q once", why, tt.says)
			}
		})
	}
	v := view(nil, both...)
	delete(v.Nodes, "h2")
	p := hostroute.Desire(v)
	if same(t, "routes before h2 described itself", told(p), h3); len(p.Lacks) > 0 {
		t.Errorf("before h2 described itself it lacks %v", p.Lacks)
	}
	v = view(nil, both...)
	v.Nodes["h2"], v.Speaks = onCard("h2", "198.51.100.2/24"), true
	if p := hostroute.Desire(v); len(p.Lacks) > 0 {
		t.Errorf("with routers that lead there it lacks %v", p.Lacks)
	}
}

// TestNextHop: a host is reached by an address that stays with it, and by none that this
// host has as well, as one that has just moved here.
func TestNextHop(t *testing.T) {
	v := view(nil, located("10.1.0.9", "h2"))
	v.Nodes["h2"] = onCard("h2", "192.0.2.2/32", "192.0.2.20/24", "192.0.2.200/24")
	same(t, "routes", told(hostroute.Desire(v)), "10.1.0.9/32 via 192.0.2.20 dev eth1")
	v.Own = append(v.Own, route.Address{Link: "eth1", Prefix: pfx("192.0.2.20/32")})
	same(t, "routes", told(hostroute.Desire(v)), "10.1.0.9/32 via 192.0.2.200 dev eth1")
	v.Nodes["h2"] = onCard("h2", "192.0.2.2/32")
	same(t, "routes", told(hostroute.Desire(v)), "10.1.0.9/32 via 192.0.2.2 dev eth1")
	v.Own[0].Tentative = true
	same(t, "routes while nobody may speak from here", told(hostroute.Desire(v)))
}

// TestTwoNetworks of two segments may have one address: the first leads there.
func TestTwoNetworks(t *testing.T) {
	v := view(nil, located("10.1.0.9", "h2"))
	other := located("10.1.0.9", "h3")
	other.Network = "uuid-o"
	v.Networks, v.Located = append(v.Networks, routed("o", nil)), append(v.Located, other)
	p := hostroute.Desire(v)
	same(t, "routes", told(p), "10.1.0.9/32 via 192.0.2.2 dev eth1")
	if !errors.Is(p.Lacks["o"], hostroute.ErrTwice) || p.Lacks["n"] != nil {
		t.Errorf("it lacks %v", p.Lacks)
	}
}

// TestTwoNetworksOfOneSubnet: a block of what two networks share has the way of the
// first, and what the other has in it is led to by itself.
func TestTwoNetworksOfOneSubnet(t *testing.T) {
	v := view(dealt, located("10.1.0.1", "h1"), located("10.1.0.65", "h2"))
	v.Networks = append(v.Networks, routed("o", map[netip.Prefix]int{pfx("10.1.0.0/24"): 28}))
	for _, l := range []hostroute.Located{located("10.1.0.2", "h3"), located("10.1.0.66", "h3"), located("10.1.0.67", "h2"), located("10.1.0.3", "h1")} {
		l.Network = "uuid-o"
		v.Located = append(v.Located, l)
	}
	p := hostroute.Desire(v)
	same(t, "routes", told(p), "unreachable 10.1.0.0/26", "10.1.0.64/26 via 192.0.2.2 dev eth1",
		"10.1.0.2/32 via 192.0.2.3 dev eth1", "10.1.0.66/32 via 192.0.2.3 dev eth1", "10.1.0.67/32 via 192.0.2.2 dev eth1")
	if len(p.Lacks) > 0 {
		t.Errorf("it lacks %v, want nothing", p.Lacks)
	}
}

// TestBlockOnTwoParents: what a host has of a block on another parent of its own is
// led to by itself, and what has no link yet will hang from where the host says.
func TestBlockOnTwoParents(t *testing.T) {
	other, coming := located("10.1.0.67", "h2"), located("10.1.0.68", "h2")
	other.Parent, coming.Parent = "eth2", ""
	v := view(dealt, located("10.1.0.65", "h2"), located("10.1.0.66", "h2"), other, coming)
	node := v.Nodes["h2"]
	node.Interfaces = append(node.Interfaces, store.Interface{Name: "eth2", Addresses: []string{"192.0.2.22/24"}})
	node.Networks = []store.NodeNetwork{{UUID: "uuid-n", Parent: "eth1"}}
	v.Nodes["h2"] = node
	same(t, "routes", told(hostroute.Desire(v)), "10.1.0.64/26 via 192.0.2.2 dev eth1", "10.1.0.67/32 via 192.0.2.22 dev eth1")
}

// TestParentBeforeTheLink: a container's record is there before its link: the node
// says what it will hang from.
func TestParentBeforeTheLink(t *testing.T) {
	l := located("10.1.0.9", "h2")
	l.Parent = ""
	v := view(nil, l)
	node := v.Nodes["h2"]
	node.Networks = []store.NodeNetwork{{UUID: "uuid-n", Parent: "eth1"}}
	v.Nodes["h2"] = node
	same(t, "routes", told(hostroute.Desire(v)), "10.1.0.9/32 via 192.0.2.2 dev eth1")
}

// TestAnnounce: routers are told of this host's own containers, by blocks where it has
// them; a drained host keeps what runs, and tells of no block.
func TestAnnounce(t *testing.T) {
	v := view(dealt, located("10.1.0.1", "h1"), located("10.1.0.2", "h1"), located("10.1.0.65", "h2"), located("10.1.0.66", "h2"), located("10.1.0.67", "h1"), located("fd00:1::1", "h1"))
	same(t, "announced", announced(hostroute.Desire(v)))
	v.Speaks = true
	want := []string{"10.1.0.0/26 via 192.0.2.1", "fd00:1::/122 via 2001:db8::1", "10.1.0.67/32 via 192.0.2.1"}
	same(t, "announced", announced(hostroute.Desire(v)), want...)
	v.Defaults.NoRoutes = true
	same(t, "announced without routes of its own", announced(hostroute.Desire(v)), want...)
	v.Drained = true
	same(t, "announced while drained", announced(hostroute.Desire(v)),
		"10.1.0.1/32 via 192.0.2.1", "10.1.0.2/32 via 192.0.2.1", "10.1.0.67/32 via 192.0.2.1", "fd00:1::1/128 via 2001:db8::1")
	v = view(nil, located("10.1.0.1", "h1"), located("fd00:1::1", "h1"))
	v.Speaks = true
	v.Own = append(v.Own, route.Address{Link: "eth1", Prefix: pfx("192.0.2.0/32"), Secondary: true}, route.Address{Link: "eth1", Prefix: pfx("2001:db8::/64"), Passing: true})
	same(t, "announced by what stays", announced(hostroute.Desire(v)), "10.1.0.1/32 via 192.0.2.1", "fd00:1::1/128 via 2001:db8::1")
	v = view(nil, located("fd00:1::1", "h1"))
	v.Speaks, v.Own = true, v.Own[2:]
	p := hostroute.Desire(v)
	if same(t, "announced without an address that stays", announced(p)); !errors.Is(p.Lacks["n"], hostroute.ErrNoAddress) {
		t.Errorf("it lacks %v", p.Lacks)
	}
}

// TestLearned: what routers told is gone by where this host knows no better way, and
// where it is on a LAN with them. What is larger than the LAN leads to the rest.
func TestLearned(t *testing.T) {
	v := view(map[netip.Prefix]int{pfx("10.1.0.64/26"): 28}, located("10.1.0.9", "h2"), located("10.1.0.65", "h1"))
	v.Speaks = true
	for _, to := range []string{"10.1.0.9/32", "10.1.0.65/32", "10.2.0.0/16", "192.0.2.128/25", "192.0.2.0/24", "192.0.0.0/16"} {
		v.Learned = append(v.Learned, route.Route{Dst: pfx(to), Via: addr("192.0.2.3")})
	}
	v.Learned = append(v.Learned, route.Route{Dst: pfx("10.3.0.0/16"), Via: addr("198.51.100.1")}, route.Route{Dst: pfx("10.4.0.0/16"), Via: addr("192.0.2.1")})
	same(t, "routes", told(hostroute.Desire(v)), "unreachable 10.1.0.64/28", "10.1.0.9/32 via 192.0.2.2 dev eth1", "10.2.0.0/16 via 192.0.2.3 dev eth1", "192.0.0.0/16 via 192.0.2.3 dev eth1")
	v.Learned = []route.Route{{Dst: pfx("10.1.0.64/28"), Via: addr("192.0.2.3")}, {Dst: pfx("fd02::/64"), Via: addr("fe80::3")}}
	v.Defaults.NoRoutes = true
	same(t, "routes of a host that makes none of its own, to its own block and by an address of some link", told(hostroute.Desire(v)))
}

// TestTable: all of them are in the table that is asked for.
func TestTable(t *testing.T) {
	v := view(dealt, located("10.1.0.1", "h1"), located("10.1.0.65", "h2"), located("10.1.0.66", "h3"))
	v.Table = 100
	for _, w := range hostroute.Desire(v).Ways {
		if w.Table != 100 {
			t.Errorf("%s is in table %d", w, w.Table)
		}
	}
}

func BenchmarkDesire(b *testing.B) {
	var all []hostroute.Located
	for i := range 10_000 {
		all = append(all, located(fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), fmt.Sprintf("h%d", 1+i%3)))
	}
	v := view(dealt, all...)
	b.ReportAllocs()
	for b.Loop() {
		hostroute.Desire(v)
	}
}
