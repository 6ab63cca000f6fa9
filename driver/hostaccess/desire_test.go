package hostaccess_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/cluster/store"
	"gvlan/driver/hostaccess"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/route"
)

var (
	card      = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	container = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	bridged   = option.Options{Parent: "eth0", Kind: link.Macvlan, Mode: link.Bridge, HostAccess: option.HostAccessOn}
)

func ipvlan(mode link.Mode) option.Options {
	return option.Options{Parent: "eth0", Kind: link.Ipvlan, Mode: mode, Flag: link.FlagBridge, HostAccess: option.HostAccessOn}
}

// view is a host with one container on one network.
func view(o option.Options, addresses ...route.Address) hostaccess.View {
	e := journal.Endpoint{
		ID: "e1", Network: "n1", Link: "gv1", Parent: "eth0", Sandbox: "/run/netns/1", MAC: container.String(),
		IPv4: netip.MustParsePrefix("192.0.2.9/24"), IPv6: netip.MustParsePrefix("2001:db8::9/64"),
	}
	return hostaccess.View{
		Driver: "gvlan", Node: "node",
		Networks:   []journal.Network{{ID: "n1", Name: "lan", Options: o}},
		Endpoints:  []hostaccess.Endpoint{{Endpoint: e, All: e.Addresses()}},
		Interfaces: []link.Interface{{Name: "eth0"}, {Name: "mgmt", DefaultRoute: true}},
		MACs:       map[string]net.HardwareAddr{"eth0": card},
		Addresses:  addresses,
	}
}

func at(link, prefix string, bend ...func(*route.Address)) route.Address {
	a := route.Address{Link: link, Prefix: netip.MustParsePrefix(prefix)}
	for _, b := range bend {
		b(&a)
	}
	return a
}

func shimOf(o option.Options) link.Spec {
	return link.Shim("gvlan", "node", "eth0", o.Kind, o.Mode, o.Flag)
}

func by(o option.Options, dst, src string) route.Route {
	return route.Route{Dst: netip.MustParsePrefix(dst), Link: shimOf(o).Name, Src: netip.MustParseAddr(src)}
}

func knows(o option.Options, addr netip.Addr, mac net.HardwareAddr) route.Neighbour {
	return route.Neighbour{Link: shimOf(o).Name, Address: addr, MAC: mac}
}

// TestDesire: what each kind of link takes, by what was measured on kernels.
func TestDesire(t *testing.T) {
	a4, a6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	h4, h6, m4 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("198.51.100.1")
	onCard := []route.Address{at("eth0", "192.0.2.1/24"), at("eth0", "2001:db8::1/64"), at("mgmt", "198.51.100.1/24")}
	for _, tt := range []struct {
		name   string
		o      option.Options
		own    []route.Address
		host   route.State
		inside hostaccess.Inside
		lacks  error
	}{
		{name: "macvlan", o: bridged, own: onCard,
			host: route.State{
				Routes:     []route.Route{by(bridged, "192.0.2.9/32", "192.0.2.1"), by(bridged, "2001:db8::9/128", "2001:db8::1")},
				Neighbours: []route.Neighbour{knows(bridged, a4, container), knows(bridged, a6, container)},
			},
			inside: hostaccess.Inside{Knows: map[netip.Addr]net.HardwareAddr{h4: shimOf(bridged).MAC, h6: shimOf(bridged).MAC}}},
		{name: "ipvlan l2 has its parent's MAC", o: ipvlan(link.L2), own: onCard,
			host: route.State{
				Routes:     []route.Route{by(ipvlan(link.L2), "192.0.2.9/32", "192.0.2.1"), by(ipvlan(link.L2), "2001:db8::9/128", "2001:db8::1")},
				Neighbours: []route.Neighbour{knows(ipvlan(link.L2), a4, card), knows(ipvlan(link.L2), a6, card)},
			},
			inside: hostaccess.Inside{Knows: map[netip.Addr]net.HardwareAddr{h4: card, h6: card}}},
		{name: "ipvlan l3 needs routes only", o: ipvlan(link.L3), own: onCard,
			host: route.State{Routes: []route.Route{by(ipvlan(link.L3), "192.0.2.9/32", "192.0.2.1"), by(ipvlan(link.L3), "2001:db8::9/128", "2001:db8::1")}}},
		{name: "a parent without addresses", o: bridged, own: onCard[2:],
			host: route.State{
				Routes:     []route.Route{by(bridged, "192.0.2.9/32", "198.51.100.1")},
				Neighbours: []route.Neighbour{knows(bridged, a4, container)},
			},
			inside: hostaccess.Inside{Hosts: []netip.Addr{m4}, Knows: map[netip.Addr]net.HardwareAddr{m4: shimOf(bridged).MAC}},
			lacks:  hostaccess.ErrNoAddress},
		{name: "every address of the parent, and the best to speak from", o: bridged,
			own: []route.Address{
				at("eth0", "203.0.113.1/24"), at("eth0", "192.0.2.1/24"), at("eth0", "192.0.2.2/24", func(a *route.Address) { a.Secondary = true }),
				at("eth0", "2001:db8::aaaa/64", func(a *route.Address) { a.Passing = true }), at("eth0", "2001:db8::1/64"),
				at("eth0", "2001:db8::2/64", func(a *route.Address) { a.Tentative = true }), at("eth0", "fe80::1/64", func(a *route.Address) { a.Local = true }),
			},
			host: route.State{
				Routes:     []route.Route{by(bridged, "192.0.2.9/32", "192.0.2.1"), by(bridged, "2001:db8::9/128", "2001:db8::1")},
				Neighbours: []route.Neighbour{knows(bridged, a4, container), knows(bridged, a6, container)},
			},
			inside: hostaccess.Inside{
				Hosts: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
				Knows: map[netip.Addr]net.HardwareAddr{
					netip.MustParseAddr("203.0.113.1"): shimOf(bridged).MAC, h4: shimOf(bridged).MAC, netip.MustParseAddr("192.0.2.2"): shimOf(bridged).MAC,
					netip.MustParseAddr("2001:db8::aaaa"): shimOf(bridged).MAC, h6: shimOf(bridged).MAC,
				},
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hostaccess.Desire(view(tt.o, tt.own...))
			opts := cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(hostaccess.Inside{}, "Addresses")}
			if diff := cmp.Diff([]link.Spec{shimOf(tt.o)}, got.Shims, opts); diff != "" {
				t.Errorf("shims (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.host, got.Host, opts); diff != "" {
				t.Errorf("on the host (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.inside, got.Inside["e1"], opts); diff != "" {
				t.Errorf("in the container (-want +got):\n%s", diff)
			}
			if !errors.Is(got.Lacks["n1"], tt.lacks) {
				t.Errorf("lacks %v, want %v", got.Lacks["n1"], tt.lacks)
			}
		})
	}
}

// TestNobodyWantsIt: without a network that wants it, or a container that joined,
// there is nothing, and no container is to know anything.
func TestNobodyWantsIt(t *testing.T) {
	onCard := []route.Address{at("eth0", "192.0.2.1/24")}
	for name, bend := range map[string]func(v *hostaccess.View){
		"off":          func(v *hostaccess.View) { v.Networks[0].Options.HostAccess = option.HostAccessOff },
		"by default":   func(v *hostaccess.View) { v.Networks[0].Options.HostAccess = "" },
		"set off":      func(v *hostaccess.View) { v.Networks[0].Overrides = store.Overrides{HostAccess: "off"} },
		"no network":   func(v *hostaccess.View) { v.Networks = nil },
		"not joined":   func(v *hostaccess.View) { v.Endpoints[0].Link, v.Endpoints[0].Parent = "", "" },
		"no container": func(v *hostaccess.View) { v.Endpoints = nil },
		"private": func(v *hostaccess.View) {
			v.Networks[0].Options.Mode, v.Networks[0].Options.HostAccess, v.Defaults.HostAccess = link.Private, "", true
		},
		"internal": func(v *hostaccess.View) {
			v.Networks[0].Internal, v.Networks[0].Options.HostAccess, v.Defaults.HostAccess = true, "", true
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := view(bridged, onCard...)
			bend(&v)
			got := hostaccess.Desire(v)
			if len(got.Shims)+len(got.Host.Routes)+len(got.Host.Neighbours)+len(got.Inside) > 0 {
				t.Errorf("there should be %+v, want nothing", got)
			}
		})
	}
}

// TestOneShimForAll: networks of one parent, kind and mode share a shim.
func TestOneShimForAll(t *testing.T) {
	v := view(bridged, at("eth0", "192.0.2.1/24"), at("eth0", "2001:db8::1/64"))
	second := v.Networks[0]
	second.ID, second.Options.HostAccess, v.Defaults.HostAccess = "n2", "", true
	v.Networks = append(v.Networks, second)
	e := v.Endpoints[0]
	e.ID, e.Network, e.IPv4, e.IPv6 = "e2", "n2", netip.MustParsePrefix("192.0.2.10/24"), netip.Prefix{}
	e.All = e.Addresses()
	v.Endpoints = append(v.Endpoints, e)
	got := hostaccess.Desire(v)
	if len(got.Shims) != 1 || len(got.Host.Routes) != 3 {
		t.Errorf("%d shims and %d routes, want 1 and 3", len(got.Shims), len(got.Host.Routes))
	}
	if diff := cmp.Diff([]string{"n1", "n2"}, got.Of[got.Shims[0].Name]); diff != "" {
		t.Errorf("whose the shim is (-want +got):\n%s", diff)
	}
}

// TestStrictParent: what would be dropped is told, with the cure.
func TestStrictParent(t *testing.T) {
	for _, tt := range []struct {
		o    option.Options
		want error
	}{{ipvlan(link.L2), hostaccess.ErrStrict}, {ipvlan(link.L3), nil}, {bridged, nil}} {
		v := view(tt.o, at("eth0", "192.0.2.1/24"), at("eth0", "2001:db8::1/64"))
		v.Strict = map[string]bool{"eth0": true}
		if got := hostaccess.Desire(v).Lacks["n1"]; !errors.Is(got, tt.want) {
			t.Errorf("%s %s lacks %v, want %v", tt.o.Kind, tt.o.Mode, got, tt.want)
		}
	}
}

// TestWhoCannotBeBeside: of containers that cannot hang from one parent those before
// the newest have ended, whatever is remembered of them: a shim of theirs would be in
// the way, or give ipvlan containers that run another mode.
func TestWhoCannotBeBeside(t *testing.T) {
	for name, older := range map[string]option.Options{"of another mode": ipvlan(link.L2), "of another kind": bridged} {
		for _, access := range []option.HostAccess{option.HostAccessOn, option.HostAccessOff} {
			t.Run(name+", "+string(access), func(t *testing.T) {
				v := view(older, at("eth0", "192.0.2.1/24"))
				newer := ipvlan(link.L3)
				newer.HostAccess = access
				v.Networks = append(v.Networks, journal.Network{ID: "n2", Name: "l3", Options: newer})
				e := v.Endpoints[0]
				e.ID, e.Network, e.Since, e.IPv4, e.IPv6 = "e2", "n2", 2, netip.MustParsePrefix("198.51.100.9/24"), netip.Prefix{}
				e.All = e.Addresses()
				v.Endpoints = append([]hostaccess.Endpoint{e}, v.Endpoints...)
				want := []link.Spec{shimOf(newer)}
				if access == option.HostAccessOff {
					want = nil
				}
				got := hostaccess.Desire(v)
				if diff := cmp.Diff(want, got.Shims, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("shims (-want +got):\n%s", diff)
				}
				if _, has := got.Inside["e1"]; has || len(got.Host.Routes) != len(want) {
					t.Errorf("there should be %+v", got)
				}
			})
		}
	}
}

// TestOneAddressTwice: networks of two VLANs may have one subnet; the host reaches one
// container, and says so of the other.
func TestOneAddressTwice(t *testing.T) {
	v := view(bridged, at("eth0", "192.0.2.1/24"), at("eth0", "2001:db8::1/64"), at("eth1", "198.51.100.1/24"))
	second := v.Networks[0]
	second.ID = "n2"
	v.Networks, v.MACs["eth1"] = append(v.Networks, second), card
	e := v.Endpoints[0]
	e.ID, e.Network, e.Parent, e.IPv6 = "e2", "n2", "eth1", netip.Prefix{}
	e.All = e.Addresses()
	v.Endpoints = append(v.Endpoints, e)
	got := hostaccess.Desire(v)
	for _, r := range got.Host.Routes {
		if r.Link != shimOf(bridged).Name {
			t.Errorf("route %s, want the first container's alone", r)
		}
	}
	if len(got.Host.Routes) != 2 || got.Lacks["n1"] != nil || !errors.Is(got.Lacks["n2"], hostaccess.ErrTwice) {
		t.Errorf("routes %v, lacks %v", got.Host.Routes, got.Lacks)
	}
}

// TestEachLackIsTold once, whatever else is lacking.
func TestEachLackIsTold(t *testing.T) {
	v := view(ipvlan(link.L2), at("eth0", "192.0.2.1/24"))
	v.Strict = map[string]bool{"eth0": true}
	e := v.Endpoints[0]
	e.ID = "e2"
	e.IPv4, e.IPv6 = netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("2001:db8::10/64")
	e.All = e.Addresses()
	v.Endpoints = append(v.Endpoints, e)
	why := hostaccess.Desire(v).Lacks["n1"]
	for _, kind := range []error{hostaccess.ErrStrict, hostaccess.ErrNoAddress} {
		if got := strings.Count(why.Error(), kind.Error()); got != 1 {
			t.Errorf("%v is told %d times, want once", kind, got)
		}
	}
	if !errors.Is(why, hostaccess.ErrStrict) || !errors.Is(why, hostaccess.ErrNoAddress) {
		t.Errorf("it lacks %v, want both once", why)
	}
}
