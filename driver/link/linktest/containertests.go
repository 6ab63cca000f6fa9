package linktest

import (
	"net"
	"net/netip"

	"gvlan/driver/link"
)

var (
	mac1 = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	mac2 = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

func macvlan(name string, mode link.Mode) link.Spec {
	return link.Spec{Name: name, Kind: link.Macvlan, Mode: mode, Parent: "eth0", MAC: mac1, Owner: "ep-" + name}
}

func ipvlan(name string, mode link.Mode, flag link.Flag) link.Spec {
	return link.Spec{Name: name, Kind: link.Ipvlan, Mode: mode, Flag: flag, Parent: "eth0", Owner: "ep-" + name}
}

var macvlanTests = []conformance{
	{"a macvlan link is made once and marked", nil, func(h trial) {
		h.make(macvlan("gv1", ""), true)
		h.make(macvlan("gv1", link.Bridge), false)
		want := macvlan("gv1", link.Bridge)
		want.MTU = 1500
		h.expect(link.Link{Spec: want, Owned: true})
		h.owned("gv1")
	}},
	{"a VLAN link of the parent is in no container's way", []link.Kind{link.VLAN}, func(h trial) {
		h.make(link.VLANs("eth0", []int{20}, "net")[0], true)
		h.make(macvlan("gv1", link.Bridge), true)
		h.remove("gv1", nil)
		h.make(macvlan("gv1", link.Passthru), true)
		h.remove("gv1", nil)
	}},
	{"every macvlan mode", nil, func(h trial) {
		for _, mode := range []link.Mode{link.Bridge, link.Private, link.VEPA, link.Passthru} {
			h.make(macvlan("gv1", mode), true)
			h.users("eth0", "macvlan "+string(mode)+" link gv1 on eth0")
			h.remove("gv1", nil)
		}
	}},
	{"a macvlan link that differs is made anew", nil, func(h trial) {
		h.Card("eth1")
		for _, change := range []func(*link.Spec){
			func(s *link.Spec) { s.Mode = link.Private },
			func(s *link.Spec) { s.MAC = mac2 },
			func(s *link.Spec) { s.MTU = 1400 },
			func(s *link.Spec) { s.Parent = "eth1" },
		} {
			spec := macvlan("gv1", link.Bridge)
			spec.MTU = 1500
			h.make(spec, true)
			change(&spec)
			h.make(spec, true)
			h.make(spec, false)
			h.expect(link.Link{Spec: spec, Owned: true})
			h.remove("gv1", nil)
		}
	}},
	{"the first owner stays in the mark", nil, func(h trial) {
		spec := macvlan("gv1", link.Bridge)
		h.make(spec, true)
		spec.Owner = "another"
		h.make(spec, false)
		if owner := h.read("gv1").Owner; owner != "ep-gv1" {
			h.t.Errorf("owner = %s, want ep-gv1", owner)
		}
	}},
	{"passthru shares with nobody", nil, func(h trial) {
		h.make(macvlan("gv1", link.Bridge), true)
		h.refuse(macvlan("gv2", link.Passthru), link.ErrModeConflict)
		h.remove("gv1", nil)
		h.make(macvlan("gv2", link.Passthru), true)
		h.refuse(macvlan("gv1", link.Bridge), link.ErrModeConflict)
		h.owned("gv2")
	}},
	{"other modes of macvlan share a parent", nil, func(h trial) {
		for i, mode := range []link.Mode{link.Bridge, link.Private, link.VEPA} {
			spec := macvlan("gv"+string(mode), mode)
			spec.MAC = net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}
			h.make(spec, true)
		}
		h.owned("gvbridge", "gvprivate", "gvvepa")
	}},
	{"impossible specs", nil, func(h trial) {
		for _, change := range []func(*link.Spec){
			func(s *link.Spec) { s.Name = "" },
			func(s *link.Spec) { s.Name = "sixteen-letters-" },
			func(s *link.Spec) { s.Kind = "bridge" },
			func(s *link.Spec) { s.Mode = link.L2 },
			func(s *link.Spec) { s.Parent = "" },
			func(s *link.Spec) { s.MTU = -1 },
			func(s *link.Spec) { s.MAC = mac1[:3] },
			func(s *link.Spec) { s.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} },
			func(s *link.Spec) { s.Kind, s.Mode = link.Ipvlan, link.L2 },
			func(s *link.Spec) { s.Kind, s.VLAN = link.VLAN, 0 },
			func(s *link.Spec) { s.Kind, s.VLAN = link.VLAN, 4095 },
		} {
			spec := macvlan("gv1", link.Bridge)
			change(&spec)
			h.refuse(spec, link.ErrSpec)
		}
		h.owned()
	}},
}

var ipvlanTests = []conformance{
	{"every ipvlan mode and flag", []link.Kind{link.Ipvlan}, func(h trial) {
		for _, mode := range []link.Mode{link.L2, link.L3, link.L3S} {
			for _, flag := range []link.Flag{link.FlagBridge, link.FlagPrivate, link.FlagVEPA} {
				spec := ipvlan("gv1", mode, flag)
				h.make(spec, true)
				spec.MTU, spec.MAC = 1500, h.read("eth0").MAC
				h.expect(link.Link{Spec: spec, Owned: true})
				h.remove("gv1", nil)
			}
		}
	}},
	{"ipvlan defaults to l2 and bridge", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(ipvlan("gv1", "", ""), true)
		h.make(ipvlan("gv1", link.L2, link.FlagBridge), false)
	}},
	{"links of one ipvlan mode share a parent", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(ipvlan("gv1", link.L3, ""), true)
		h.make(ipvlan("gv2", link.L3, ""), true)
		h.users("eth0", "ipvlan l3 link gv1 on eth0", "ipvlan l3 link gv2 on eth0")
	}},
	{"another ipvlan mode or flag would flip the first", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(ipvlan("gv1", link.L2, ""), true)
		h.refuse(ipvlan("gv2", link.L3, ""), link.ErrModeConflict)
		h.refuse(ipvlan("gv2", link.L2, link.FlagPrivate), link.ErrModeConflict)
		h.users("eth0", "ipvlan l2 link gv1 on eth0")
		h.absent("gv2")
	}},
	{"an ipvlan link is not stale for having its parent's MAC", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(ipvlan("gv1", "", ""), true)
		h.stale("eth0", h.read("eth0").MAC, netip.Addr{}, nil)
		h.owned("gv1")
	}},
	{"macvlan and ipvlan do not share a parent", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(ipvlan("gv1", "", ""), true)
		h.refuse(macvlan("gv2", ""), link.ErrParentBusy)
		h.remove("gv1", nil)
		h.make(macvlan("gv2", ""), true)
		h.refuse(ipvlan("gv1", "", ""), link.ErrParentBusy)
		h.owned("gv2")
	}},
}

var parentTests = []conformance{
	{"a parent that is not there", nil, func(h trial) {
		spec := macvlan("gv1", "")
		spec.Parent = "toothbrush"
		h.refuse(spec, link.ErrNotFound)
		h.absent("gv1")
		if _, err := h.InUse(h.t.Context(), "toothbrush"); err == nil {
			h.t.Error("InUse of a missing parent = nil")
		}
	}},
	{"the loopback is no parent", nil, func(h trial) {
		spec := macvlan("gv1", "")
		spec.Parent = "lo"
		h.refuse(spec, link.ErrParentType)
		h.absent("gv1")
	}},
	{"a parent that is down serves", nil, func(h trial) {
		h.SetUp("eth0", false)
		h.make(macvlan("gv1", ""), true)
		if h.inventory("eth0").Up {
			h.t.Error("Ensure has set the parent up")
		}
	}},
	{"an MTU is taken up to the parent's", nil, func(h trial) {
		spec := macvlan("gv1", link.Bridge)
		spec.MTU = 1400
		h.make(spec, true)
		h.expect(link.Link{Spec: spec, Owned: true})
		spec.Name, spec.MTU = "gv2", 1501
		h.refuse(spec, link.ErrMTU)
		h.absent("gv2")
	}},
}
