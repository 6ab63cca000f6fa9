package linktest

import (
	"net"
	"net/netip"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/link"
)

var vlanTests = []conformance{
	{"a VLAN link is made once, marked and up", []link.Kind{link.VLAN}, func(h trial) {
		h.vlans("eth0", []int{65}, "eth0.65", true)
		h.vlans("eth0", []int{65}, "eth0.65", false)
		h.expect(link.Link{
			Spec:  link.Spec{Name: "eth0.65", Kind: link.VLAN, Parent: "eth0", VLAN: 65, MTU: 1500, Owner: "net1"},
			Owned: true,
			Up:    true,
		})
		h.owned("eth0.65")
	}},
	{"no ids give the master", nil, func(h trial) {
		h.vlans("eth0", nil, "eth0", false)
		h.owned()
	}},
	{"a master with a long name", []link.Kind{link.VLAN}, func(h trial) {
		h.Card("enp129s0f1np1") // 13 characters
		name := link.VLANName("enp129s0f1np1", 4094)
		h.vlans("enp129s0f1np1", []int{4094}, name, true)
		if i := h.inventory(name); i.Parent != "enp129s0f1np1" || i.VLAN != 4094 {
			h.t.Errorf("made VLAN %d of %s, want 4094 of enp129s0f1np1", i.VLAN, i.Parent)
		}
	}},
	{"QinQ", []link.Kind{link.VLAN}, func(h trial) {
		h.vlans("eth0", []int{100, 200}, "eth0.100.200", true)
		h.vlans("eth0", []int{100, 201}, "eth0.100.201", true)
		h.owned("eth0.100", "eth0.100.200", "eth0.100.201")
		if i := h.inventory("eth0.100.200"); i.Parent != "eth0.100" || i.VLAN != 200 {
			h.t.Errorf("made VLAN %d of %s, want 200 of eth0.100", i.VLAN, i.Parent)
		}
		h.remove("eth0.100", link.ErrInUse)
	}},
	{"a chain that fails leaves nothing", []link.Kind{link.VLAN}, func(h trial) {
		if _, err := h.EnsureVLANs(h.t.Context(), "eth0", []int{100, 5000}, "net1"); err == nil {
			h.t.Error("EnsureVLANs with id 5000 = nil")
		}
		h.owned()
		h.vlans("eth0", []int{100}, "eth0.100", true)
		if _, err := h.EnsureVLANs(h.t.Context(), "eth0", []int{100, 5000}, "net1"); err == nil {
			h.t.Error("EnsureVLANs with id 5000 = nil")
		}
		h.owned("eth0.100")
	}},
	{"a VLAN id that is there under another name", []link.Kind{link.VLAN}, func(h trial) {
		h.Foreign(link.Spec{Name: "servers", Kind: link.VLAN, Parent: "eth0", VLAN: 65})
		before := h.inventory("servers")
		h.vlans("eth0", []int{65}, "servers", false)
		if diff := cmp.Diff(before, h.inventory("servers")); diff != "" {
			h.t.Errorf("a foreign link changed (-before +after):\n%s", diff)
		}
		h.remove("servers", link.ErrForeign)
		h.owned()
	}},
	{"a foreign link of the VLAN's name", []link.Kind{link.VLAN}, func(h trial) {
		h.Card("eth0.65")
		h.vlans("eth0", []int{65}, "eth0.65", false)
		h.owned()
	}},
	{"the VLAN links of a master that is down come up with it", []link.Kind{link.VLAN}, func(h trial) {
		h.SetUp("eth0", false)
		h.vlans("eth0", []int{65}, "eth0.65", true)
		if h.inventory("eth0").Up {
			h.t.Error("the master was set up")
		}
		h.SetUp("eth0", true)
		if !h.inventory("eth0.65").Up {
			h.t.Error("the VLAN link is down after its master came up")
		}
	}},
	{"a dummy is made once, marked and up", []link.Kind{link.Dummy}, func(h trial) {
		spec := link.Spec{Name: link.DummyName("net1"), Kind: link.Dummy, Owner: "net1"}
		h.make(spec, true)
		h.make(spec, false)
		spec.MTU = 1500
		h.expect(link.Link{Spec: spec, Owned: true, Up: true})
		h.remove(spec.Name, nil)
		h.absent(spec.Name)
	}},
	{"containers hang from VLAN links", []link.Kind{link.VLAN}, func(h trial) {
		h.vlans("eth0", []int{65}, "eth0.65", true)
		spec := macvlan("gv1", "")
		spec.Parent = "eth0.65"
		h.make(spec, true)
		h.users("eth0.65", "macvlan bridge link gv1 on eth0.65")
		h.remove("eth0.65", link.ErrInUse)
		h.remove("gv1", nil)
		h.remove("eth0.65", nil)
		h.owned()
	}},
}

var removalTests = []conformance{
	{"removing is done once and stays done", nil, func(h trial) {
		h.make(macvlan("gv1", ""), true)
		h.remove("gv1", nil)
		h.absent("gv1")
		h.remove("gv1", nil)
	}},
	{"foreign links are neither removed nor replaced", nil, func(h trial) {
		h.Foreign(macvlan("gv1", link.Bridge))
		h.remove("gv1", link.ErrForeign)
		h.refuse(macvlan("gv1", link.Bridge), link.ErrForeign)
		h.remove("eth0", link.ErrForeign)
		h.owned()
	}},
	{"links of another driver are foreign", nil, func(h trial) {
		if _, err := h.Other.Ensure(h.t.Context(), macvlan("gv1", "")); err != nil {
			h.t.Fatal(err)
		}
		h.remove("gv1", link.ErrForeign)
		h.refuse(macvlan("gv1", ""), link.ErrForeign)
		h.stale("eth0", mac1, netip.Addr{}, nil)
		h.owned()
		h.users("eth0", "macvlan bridge link gv1 on eth0")
	}},
	{"stale links are those with the MAC, on the parent, not live", nil, func(h trial) {
		h.Card("eth1")
		h.make(macvlan("gv1", ""), true)
		other := macvlan("gv2", "")
		other.MAC = mac2
		h.make(other, true)
		elsewhere := macvlan("gv3", "")
		elsewhere.Parent = "eth1"
		h.make(elsewhere, true)

		h.stale("eth0", mac1, netip.Addr{}, []string{"ep-gv1"})
		h.stale("eth0", nil, netip.Addr{}, nil)
		h.owned("gv1", "gv2", "gv3")
		h.stale("eth0", mac1, netip.Addr{}, nil, "gv1")
		h.stale("", mac1, netip.Addr{}, nil, "gv3")
		h.owned("gv2")
	}},
	{"stale links are those with the address", nil, func(h trial) {
		h.make(macvlan("gv1", ""), true)
		h.Address("gv1", "192.0.2.7/24")
		h.stale("eth0", mac2, netip.MustParseAddr("192.0.2.8"), nil)
		h.stale("eth0", mac2, netip.MustParseAddr("192.0.2.7"), nil, "gv1")
	}},
	{"the inventory", nil, func(h trial) {
		h.make(macvlan("gv1", ""), true)
		h.Address("eth0", "192.0.2.7/24")
		card := h.inventory("eth0")
		if !card.Up || card.Loopback || card.MTU != 1500 || len(card.Addresses) == 0 {
			h.t.Errorf("eth0 = %+v, want it up, with MTU 1500 and an address", card)
		}
		if lo := h.inventory("lo"); !lo.Loopback {
			h.t.Errorf("lo = %+v, want it a loopback", lo)
		}
		if gv := h.inventory("gv1"); gv.Parent != "eth0" || gv.Kind != "macvlan" || gv.Up {
			h.t.Errorf("gv1 = %+v, want it down on eth0", gv)
		}
	}},
}

// stale runs RemoveStale with the owners that are live.
func (h trial) stale(parent string, mac net.HardwareAddr, addr netip.Addr, live []string, want ...string) {
	h.t.Helper()
	got, err := h.RemoveStale(h.t.Context(), parent, mac, addr, func(_, owner string) bool {
		for _, l := range live {
			if l == owner {
				return true
			}
		}
		return false
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("removed by RemoveStale (-want +got):\n%s", diff)
	}
}
