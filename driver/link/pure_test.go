package link

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestNames(t *testing.T) {
	endpoint := strings.Repeat("0123456789abcdef", 4)
	for _, tt := range []struct{ name, got, want string }{
		{"endpoint", EndpointName(endpoint), "gva8ae6e6ee929a"},
		{"dummy", DummyName(endpoint), "gvd-a8ae6e6ee92"},
		{"VLAN", VLANName("eth0", 65), "eth0.65"},
		{"QinQ", VLANName("eth0.100", 200), "eth0.100.200"},
		{"VLAN of 15 characters", VLANName("enp129s0f1", 4094), "enp129s0f1.4094"},
		{"VLAN of 16 characters", VLANName("enp129s0f1n", 4094), "gvvf10e3fa.4094"},
		{"short id on a long master", VLANName("enp129s0f1np123", 5), "gvva7cc3560ac.5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.got) > maxName {
				t.Errorf("%s has %d characters, more than %d", tt.got, len(tt.got), maxName)
			}
			// A name is kept in journals and must be found again by the next release.
			if tt.got != tt.want {
				t.Errorf("name = %s, want %s", tt.got, tt.want)
			}
		})
	}
}

func TestVLANs(t *testing.T) {
	want := []Spec{
		{Name: "eth0.100", Kind: VLAN, Parent: "eth0", VLAN: 100, Owner: "net1"},
		{Name: "eth0.100.200", Kind: VLAN, Parent: "eth0.100", VLAN: 200, Owner: "net1"},
	}
	if diff := cmp.Diff(want, VLANs("eth0", []int{100, 200}, "net1")); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
}

func TestMark(t *testing.T) {
	for _, tt := range []struct {
		name, alias string
		want        mark
		ok          bool
	}{
		{"an endpoint's", "gvlan:gvlan:macvlan:ep1", mark{"gvlan", Macvlan, "ep1"}, true},
		{"a driver with a tag", "gvlan:gvlan-swarm:latest:vlan:net1", mark{"gvlan-swarm:latest", VLAN, "net1"}, true},
		{"no owner", "gvlan:gvlan:dummy:", mark{"gvlan", Dummy, ""}, true},
		{"empty", "", mark{}, false},
		{"a person's", "uplink to rack 4", mark{}, false},
		{"cut short", "gvlan:gvlan", mark{}, false},
		{"cut shorter", "gvlan:", mark{}, false},
		{"cut in the middle", "gvlan:gvlan:vlan", mark{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseMark(tt.alias)
			if ok != tt.ok {
				t.Fatalf("parseMark = %v, want %v", ok, tt.ok)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(mark{})); diff != "" {
				t.Errorf("mark (-want +got):\n%s", diff)
			}
			if ok && got.String() != tt.alias {
				t.Errorf("String = %q, want %q", got.String(), tt.alias)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	on := func(kind Kind, mode Mode, flag Flag) Spec {
		return Spec{Name: "gv1", Kind: kind, Mode: mode, Flag: flag, Parent: "eth0"}
	}
	for _, tt := range []struct {
		name string
		want Spec
		have Spec
		err  error
	}{
		{"macvlan beside macvlan", on(Macvlan, "", ""), on(Macvlan, VEPA, ""), nil},
		{"macvlan beside macvtap", on(Macvlan, "", ""), on("macvtap", VEPA, ""), nil},
		{"macvlan beside a passthru macvtap", on(Macvlan, "", ""), on("macvtap", Passthru, ""), ErrModeConflict},
		{"passthru beside macvlan", on(Macvlan, Passthru, ""), on(Macvlan, Bridge, ""), ErrModeConflict},
		{"macvlan beside ipvlan", on(Macvlan, "", ""), on(Ipvlan, L2, FlagBridge), ErrParentBusy},
		{"ipvlan beside macvtap", on(Ipvlan, "", ""), on("macvtap", Bridge, ""), ErrParentBusy},
		{"ipvlan beside ipvlan, by default", on(Ipvlan, "", ""), on(Ipvlan, L2, FlagBridge), nil},
		{"ipvlan of another mode", on(Ipvlan, L3S, ""), on(Ipvlan, L3, FlagBridge), ErrModeConflict},
		{"ipvlan of another flag", on(Ipvlan, L2, FlagVEPA), on(Ipvlan, L2, FlagBridge), ErrModeConflict},
		{"a VLAN beside anything", on(VLAN, "", ""), on(Macvlan, Passthru, ""), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.have.Name = "gv2"
			err := Judge(tt.want, []Usage{{Spec: tt.have}})
			if !errors.Is(err, tt.err) {
				t.Fatalf("Judge = %v, want %v", err, tt.err)
			}
			var conflict *ConflictError
			if tt.err != nil && (!errors.As(err, &conflict) || conflict.Have.Name != "gv2") {
				t.Errorf("Judge = %v, want it to name gv2", err)
			}
		})
	}
	own := Usage{Spec: on(Macvlan, Passthru, ""), Owned: true}
	if err := Judge(on(Macvlan, Bridge, ""), []Usage{own}); err != nil {
		t.Errorf("Judge of a link in the way of itself = %v, want nil", err)
	}
}

// The sentences that users see.
func TestErrorTexts(t *testing.T) {
	have := &Usage{Spec: Spec{Name: "gv2", Kind: Ipvlan, Mode: L2, Parent: "eth0"}}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"module", refused(Spec{Kind: Ipvlan}, unix.EOPNOTSUPP),
			"this kernel has no ipvlan links: they need Linux 4.2 or newer with the module ipvlan (try: modprobe ipvlan)"},
		{"VLAN module", refused(Spec{Kind: VLAN}, unix.EOPNOTSUPP),
			"this kernel has no vlan links: they need Linux 3.9 or newer with the module 8021q (try: modprobe 8021q)"},
		{"the kernel's busy", refused(Spec{Name: "gv1", Kind: Macvlan, Mode: Bridge, Parent: "eth0"}, unix.EBUSY),
			"cannot put macvlan bridge link gv1 on eth0: parent is taken: macvlan and ipvlan cannot share a parent, nor share it with a bond, bridge or switch"},
		{"ours", &ConflictError{Want: Spec{Name: "gv1", Kind: Ipvlan, Mode: L3, Parent: "eth0"}, Have: have, Err: ErrModeConflict},
			"cannot put ipvlan l3 link gv1 on eth0: it already carries ipvlan l2 link gv2 on eth0: ipvlan's mode and flag belong to the parent, and another would change the running containers"},
		{"spec", Spec{Name: "gv1", Kind: Macvlan, Mode: "brigde", Parent: "eth0"}.Check(),
			`impossible link "gv1": macvlan mode "brigde" is not one of [bridge private vepa passthru]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBestDefaults(t *testing.T) {
	via := func(index, metric int) netlink.Route {
		return netlink.Route{LinkIndex: index, Priority: metric, Type: unix.RTN_UNICAST}
	}
	to := func(r netlink.Route, dst string) netlink.Route {
		_, r.Dst, _ = net.ParseCIDR(dst)
		return r
	}
	blackhole := netlink.Route{LinkIndex: 1, Type: unix.RTN_BLACKHOLE}
	for _, tt := range []struct {
		name   string
		routes []netlink.Route
		want   []int
	}{
		{"none", nil, nil},
		{"other routes only", []netlink.Route{to(via(2, 0), "10.0.0.0/8")}, nil},
		{"without destination", []netlink.Route{via(2, 0)}, []int{2}},
		{"spelled out", []netlink.Route{to(via(2, 0), "0.0.0.0/0")}, []int{2}},
		{"IPv6 spelled out", []netlink.Route{to(via(2, 0), "::/0")}, []int{2}},
		{"lowest metric first", []netlink.Route{via(2, 100), via(3, 200)}, []int{2}},
		{"lowest metric last", []netlink.Route{via(2, 200), via(3, 100)}, []int{3}},
		{"one metric", []netlink.Route{via(2, 100), via(3, 100)}, []int{2, 3}},
		{"blackhole", []netlink.Route{blackhole, via(3, 100)}, []int{3}},
		{"multipath", []netlink.Route{{Type: unix.RTN_UNICAST, MultiPath: []*netlink.NexthopInfo{{LinkIndex: 4}, {LinkIndex: 5}}}}, []int{4, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, bestDefaults(tt.routes)); diff != "" {
				t.Errorf("exits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWireless(t *testing.T) {
	k := &Kernel{sys: fstest.MapFS{
		"class/net/wlan0/phy80211/name": {},
		"class/net/wlan1/wireless/link": {},
		"class/net/eth0/mtu":            {},
	}}
	for name, want := range map[string]bool{"wlan0": true, "wlan1": true, "eth0": false, "none": false} {
		if got := k.wireless(name); got != want {
			t.Errorf("wireless(%s) = %v, want %v", name, got, want)
		}
	}
}

// Laid out by hand from RFC 826, 5227, 4861 and 4443.
func TestFrames(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ARP announcement", arpAnnouncement(netip.MustParseAddr("192.0.2.7"), mac),
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000207 000000000000 c0000207"},
		{"neighbor advertisement", neighborAdvertisement(netip.MustParseAddr("2001:db8::7"), mac),
			"333300000001 020000000001 86dd 60000000 0020 3a ff" +
				" 20010db8000000000000000000000007 ff020000000000000000000000000001" +
				" 88 00 f91e 20000000 20010db8000000000000000000000007 02 01 020000000001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.ReplaceAll(tt.want, " ", "")
			if diff := cmp.Diff(want, hex.EncodeToString(tt.got)); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
		})
	}
}
