package parentfile_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/parentfile"
)

// host is an inventory with one of everything.
func host() []parentfile.Interface {
	return []parentfile.Interface{
		{Name: "lo", Kind: "device", Up: true, Loopback: true, Addresses: prefixes("127.0.0.1/8")},
		{Name: "eth1", Kind: "device", Up: true, Addresses: prefixes("192.168.1.7/24", "fd00::7/64")},
		{Name: "eth0", Kind: "device", Up: true, AltNames: []string{"enp0s31f6"}, DefaultRoute: true, Addresses: prefixes("10.0.0.7/8")},
		{Name: "eth2", Kind: "device"},
		{Name: "eth3", Kind: "device", Up: true, Master: "bond0"},
		{Name: "bond0", Kind: "bond", Up: true},
		{Name: "wlan0", Kind: "device", Up: true, Wireless: true},
		{Name: "br.lan", Kind: "bridge", Up: true},
		{Name: "red", Kind: "vrf", Up: true},
		{Name: "eth4", Kind: "device", Up: true, Master: "red"},
		{Name: "eth1.20", Kind: "vlan", Up: true, Parent: "eth1", VLAN: 20},
		{Name: "servers", Kind: "vlan", Up: true, Parent: "eth1", VLAN: 30},
		{Name: "eth0.7", Kind: "dummy", Up: true},
		{Name: "docker0", Kind: "bridge", Up: true, Addresses: prefixes("172.17.0.1/16")},
		{Name: "veth12", Kind: "veth", Up: true},
		{Name: "gv12", Kind: "macvlan", Parent: "eth1"},
	}
}

func prefixes(all ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, p := range all {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

func TestResolve(t *testing.T) {
	down := "parent interface eth2 is down; containers reach nothing until it is up"
	for _, tt := range []struct {
		name, list string
		kind       string
		candidate  string // the item that wins
		link       string // the interface chosen, or the master
		vlans      []int
		warnings   []string
	}{
		{name: "the first that exists", list: "toothbrush, eth1, eth0", candidate: "eth1", link: "eth1"},
		{name: "in the order of the list", list: "eth0,eth1", candidate: "eth0", link: "eth0"},
		{name: "an alternative name", list: "enp0s31f6", candidate: "enp0s31f6", link: "eth0"},
		{name: "VLAN of an alternative name", list: "enp0s31f6.5", candidate: "enp0s31f6.5", link: "eth0", vlans: []int{5}},
		{name: "a bridge with a dot in its name", list: "br.lan", candidate: "br.lan", link: "br.lan"},
		{name: "VLAN of it", list: "br.lan.5", candidate: "br.lan.5", link: "br.lan", vlans: []int{5}},
		{name: "down, with a warning", list: "eth2", candidate: "eth2", link: "eth2", warnings: []string{down}},
		{name: "VLAN of a master that is down", list: "eth2.5", candidate: "eth2.5", link: "eth2", vlans: []int{5}, warnings: []string{down}},
		{name: "VLAN whose master exists", list: "bond1.65,eth9.65,eth0.65", candidate: "eth0.65", link: "eth0", vlans: []int{65}},
		{name: "QinQ from nothing", list: "eth0.100.200", candidate: "eth0.100.200", link: "eth0", vlans: []int{100, 200}},
		{name: "QinQ on a VLAN that exists", list: "eth1.20.200", candidate: "eth1.20.200", link: "eth1.20", vlans: []int{200}},
		{name: "QinQ on a VLAN that exists under another name", list: "eth1.30.200", candidate: "eth1.30.200", link: "servers", vlans: []int{200}},
		{name: "an existing VLAN", list: "eth1.20", candidate: "eth1.20", link: "eth1.20"},
		{name: "a VLAN id under another name", list: "eth1.30", candidate: "eth1.30", link: "servers"},
		{name: "an existing link that only looks like a VLAN", list: "eth0.7", candidate: "eth0.7", link: "eth0.7"},
		{name: "a VLAN id with leading zeros", list: "eth1.020", candidate: "eth1.020", link: "eth1.20"},
		{name: "the lowest id", list: "eth0.1", candidate: "eth0.1", link: "eth0", vlans: []int{1}},
		{name: "the highest id", list: "eth0.4094", candidate: "eth0.4094", link: "eth0", vlans: []int{4094}},
		{name: "old spelling", list: "eth0:10", candidate: "eth0:10", link: "eth0", vlans: []int{10}},
		{name: "a port of a VRF", list: "eth4", candidate: "eth4", link: "eth4"},
		{name: "wireless for ipvlan", list: "wlan0", kind: parentfile.Ipvlan, candidate: "wlan0", link: "wlan0"},
		{name: "wireless is skipped for macvlan", list: "wlan0,eth0", candidate: "eth0", link: "eth0"},
		{name: "a port of a bond is skipped", list: "eth3,bond0", candidate: "bond0", link: "bond0"},
		{name: "default route", list: "default-route", candidate: "default-route", link: "eth0"},
		{name: "VLAN of the default route", list: "default-route.65", candidate: "default-route.65", link: "eth0", vlans: []int{65}},
		{name: "QinQ of the default route", list: "default-route.100.200", candidate: "default-route.100.200", link: "eth0", vlans: []int{100, 200}},
		{name: "IPv4 subnet", list: "subnet:192.168.1.0/24", candidate: "subnet:192.168.1.0/24", link: "eth1"},
		{name: "IPv6 subnet", list: "subnet:fd00::/64", candidate: "subnet:fd00::/64", link: "eth1"},
		{name: "glob, by name", list: "eth*", candidate: "eth*", link: "eth0"},
		{name: "glob on alternative names", list: "enp*", candidate: "enp*", link: "eth0"},
		{name: "glob never means a container's link", list: "*v12,eth1", candidate: "eth1", link: "eth1"},
		{name: "glob may mean a veth, the card of a host in a container", list: "*th12", candidate: "*th12", link: "veth12"},
		{name: "glob passes over what is refused", list: "[elw]*", candidate: "[elw]*", link: "eth0"},
		{name: "VLAN of a glob", list: "bo*.65", candidate: "bo*.65", link: "bond0", vlans: []int{65}},
		{name: "a glob on whole names first", list: "eth1.2?", candidate: "eth1.2?", link: "eth1.20"},
		{name: "exclusion of a name", list: "!eth0,eth*", candidate: "eth*", link: "eth0.7"},
		{name: "exclusion of a glob", list: "eth*,!eth0*", candidate: "eth*", link: "eth1"},
		{name: "exclusion by alternative name", list: "default-route,!enp*,eth1", candidate: "eth1", link: "eth1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind := tt.kind
			if kind == "" {
				kind = parentfile.Macvlan
			}
			choice, err := parentfile.Resolve(parse(t, tt.list), host(), kind)
			if err != nil {
				t.Fatal(err)
			}
			type result struct {
				Candidate, Link string
				VLANs           []int
				Warnings        []string
			}
			want := result{tt.candidate, tt.link, tt.vlans, tt.warnings}
			got := result{choice.Candidate, choice.Interface.Name, choice.VLANs, choice.Warnings}
			if len(got.VLANs) == 0 {
				got.VLANs = nil
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("choice (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveEmpty(t *testing.T) {
	_, err := parentfile.Resolve(parse(t, ", ,"), host(), parentfile.Macvlan)
	if !errors.Is(err, parentfile.ErrEmpty) {
		t.Fatalf("Resolve = %v, want %v", err, parentfile.ErrEmpty)
	}
	want := `no parent interface was passed, use for example '-o parent="eth0,eth1,eth3"'`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestResolveSaysWhyNot(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		is         error
		refused    bool
		why        string
	}{
		{"missing", "toothbrush", parentfile.ErrNoInterface, false, "no such interface"},
		{"missing master", "bond9.65", parentfile.ErrNoInterface, false, "its master bond9 does not exist"},
		{"missing QinQ master", "bond9.65.66", parentfile.ErrNoInterface, false, "its master bond9 does not exist"},
		{"id too high", "eth0.5000", parentfile.ErrVLANRange, true, "VLAN id 5000 is not in 1-4094"},
		{"id zero", "eth0.0", parentfile.ErrVLANRange, true, "VLAN id 0 is not in 1-4094"},
		{"reserved id", "eth0.4095", parentfile.ErrVLANRange, true, "VLAN id 4095 is not in 1-4094"},
		{"outer id too high", "eth0.5000.5", parentfile.ErrVLANRange, true, "VLAN id 5000 is not in 1-4094"},
		{"id beyond all numbers", "eth0.99999999999999999999", parentfile.ErrVLANRange, true, "VLAN id 99999999999999999999 is not in 1-4094"},
		{"id of a glob", "e*.5000", parentfile.ErrVLANRange, true, "VLAN id 5000 is not in 1-4094"},
		{"loopback", "lo", parentfile.ErrLoopback, true, "lo is the loopback, which has no LAN behind it: name a network card, bond, bridge or VLAN"},
		{"VLAN of the loopback", "lo.5", parentfile.ErrLoopback, true, "lo is the loopback, which has no LAN behind it: name a network card, bond, bridge or VLAN"},
		{"loopback by subnet", "subnet:127.0.0.0/8", parentfile.ErrLoopback, true, "lo is the loopback, which has no LAN behind it: name a network card, bond, bridge or VLAN"},
		{"port of a bond", "eth3", parentfile.ErrEnslaved, true, "eth3 is a port of bond0, which takes all its packets: name bond0 instead"},
		{"VLAN of a port", "eth3.5", parentfile.ErrEnslaved, true, "eth3 is a port of bond0, which takes all its packets: name bond0 instead"},
		{"wireless", "wlan0", parentfile.ErrWireless, true, "wlan0 is wireless and carries one MAC address only, which rules macvlan out: use -o kind=ipvlan"},
		{"excluded", "eth1,!eth1", parentfile.ErrExcluded, false, "eth1 is excluded by !eth1"},
		{"master excluded", "eth1.5,!eth1", parentfile.ErrExcluded, false, "eth1 is excluded by !eth1"},
		{"VLAN excluded under its other name", "eth1.30,!serv*", parentfile.ErrExcluded, false, "servers is excluded by !serv*"},
		{"no interface in the subnet", "subnet:10.9.8.0/33", nil, false, ""},
		{"nobody in the subnet", "subnet:203.0.113.0/24", parentfile.ErrNoInterface, false, "no interface has an address in 203.0.113.0/24"},
		{"glob without match", "ib*", parentfile.ErrNoInterface, false, "it matches no interface"},
		{"VLAN of a glob without match", "ib*.5", parentfile.ErrNoInterface, false, "it matches no interface"},
		{"host not asked", "@host", parentfile.ErrNoHostParent, false, "this host's agent configuration names no parent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := parentfile.Parse(tt.list)
			if tt.is == nil {
				if err == nil {
					t.Errorf("Parse(%s) = nil", tt.list)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = parentfile.Resolve(list, host(), parentfile.Macvlan)
			var none *parentfile.NoParentError
			if !errors.As(err, &none) || !errors.Is(err, tt.is) {
				t.Fatalf("Resolve = %v, want a NoParentError that is %v", err, tt.is)
			}
			if diff := cmp.Diff(tt.why, none.Tried[0].Err.Error()); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			if none.Refused() != tt.refused {
				t.Errorf("Refused = %v, want %v", none.Refused(), tt.refused)
			}
		})
	}
}

func TestNoDefaultRoute(t *testing.T) {
	_, err := parentfile.Resolve(parse(t, "default-route"), host()[:2], parentfile.Macvlan)
	want := "no usable parent interface on this host: default-route (this host has no default route); this host has eth1"
	if err == nil || err.Error() != want {
		t.Errorf("Resolve = %v, want %s", err, want)
	}
}

func TestNoParentErrorText(t *testing.T) {
	_, err := parentfile.Resolve(parse(t, "toothbrush, foo.10,eth3"), host(), parentfile.Macvlan)
	var none *parentfile.NoParentError
	if !errors.As(err, &none) {
		t.Fatalf("Resolve = %v, want a NoParentError", err)
	}
	none.Node = "rack4-7"
	want := "no usable parent interface on node rack4-7: toothbrush (no such interface), foo.10 (its master foo does not exist), " +
		"eth3 (eth3 is a port of bond0, which takes all its packets: name bond0 instead); " +
		"this host has bond0, br.lan, docker0, eth0, eth0.7, eth1, eth1.20, eth2 (down), eth4, red, servers, veth12, wlan0"
	if diff := cmp.Diff(want, none.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	none.Have = nil
	none.Tried = none.Tried[:1]
	want = "no usable parent interface on node rack4-7: toothbrush (no such interface); this host has no interface that could be a parent"
	if diff := cmp.Diff(want, none.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// Two hosts of unlike cards, and lists that suit both.
func TestParentListsOfTheGuide(t *testing.T) {
	nic := func(names ...string) []parentfile.Interface {
		var all []parentfile.Interface
		for _, n := range names {
			all = append(all, parentfile.Interface{Name: n, Kind: "device", Up: true})
		}
		return all
	}
	host1, host2 := nic("eth0", "eth1"), append(nic("eth0"), parentfile.Interface{Name: "foo", Kind: "dummy", Up: true})
	type result struct {
		Link  string
		VLANs []int
	}
	for _, tt := range []struct {
		name, list   string
		host1, host2 result
	}{
		{"1", "bond0,  eth0,  eth1", result{"eth0", nil}, result{"eth0", nil}},
		{"2", "bond0,eth1,eth0,", result{"eth1", nil}, result{"eth0", nil}},
		{"3", "bond0,  eth1,  eth0,", result{"eth1", nil}, result{"eth0", nil}},
		{"4", "eth0", result{"eth0", nil}, result{"eth0", nil}},
		{"5", "toothbrush, eth1, eth0", result{"eth1", nil}, result{"eth0", nil}},
		{"6", "foo,eth1,pancakes", result{"eth1", nil}, result{"foo", nil}},
		{"7", "foo.10,eth1.20,pancakes", result{"eth1", []int{20}}, result{"foo", []int{10}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, want := range []result{tt.host1, tt.host2} {
				have := [][]parentfile.Interface{host1, host2}[i]
				choice, err := parentfile.Resolve(parse(t, tt.list), have, parentfile.Macvlan)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, result{choice.Interface.Name, choice.VLANs}); diff != "" {
					t.Errorf("host %d (-want +got):\n%s", i+1, diff)
				}
			}
		})
	}
}

func parse(t *testing.T, text string) parentfile.List {
	t.Helper()
	list, err := parentfile.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
