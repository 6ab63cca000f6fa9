package linktest

import (
	"net/netip"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/link"
)

func shim(kind link.Kind, mode link.Mode) link.Spec {
	return link.Shim("gvlan", "node-1", "eth0", kind, mode, "")
}

var shimTests = []conformance{
	{"a shim is made once, marked, and up", nil, func(h trial) {
		spec := shim(link.Macvlan, link.Bridge)
		h.make(spec, true)
		h.make(spec, false)
		spec.MTU = 1500
		h.expect(link.Link{Spec: spec, Owned: true, Up: true})
		h.owned(spec.Name)
	}},
	{"a shim is no container's link and no parent", nil, func(h trial) {
		spec := shim(link.Macvlan, link.Bridge)
		h.make(spec, true)
		h.make(macvlan("gv1", ""), true)
		h.users("eth0", "macvlan bridge link gv1 on eth0")
		h.stale("eth0", spec.MAC, netip.Addr{}, nil)
		all, err := h.Interfaces(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		for _, i := range all {
			if i.Name == spec.Name {
				h.t.Error("the inventory has the shim")
			}
		}
		h.owned("gv1", spec.Name)
	}},
	{"a shim has no address", nil, func(h trial) {
		spec := shim(link.Macvlan, link.Bridge)
		h.make(spec, true)
		if diff := cmp.Diff([]netip.Prefix(nil), h.read(spec.Name).Addresses); diff != "" {
			h.t.Errorf("addresses of the shim (-want +got):\n%s", diff)
		}
	}},
	{"a shim makes way for a container of another mode", nil, func(h trial) {
		spec := shim(link.Macvlan, link.Bridge)
		h.make(spec, true)
		h.make(macvlan("gv1", link.Private), true)
		h.owned("gv1", spec.Name)
		h.remove("gv1", nil)
		h.make(macvlan("gv1", link.Passthru), true)
		h.owned("gv1")
	}},
	{"a shim makes way for a container of another kind", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(shim(link.Macvlan, link.Bridge), true)
		h.make(ipvlan("gv1", link.L2, ""), true)
		h.owned("gv1")
		h.remove("gv1", nil)
		h.make(shim(link.Ipvlan, link.L2), true)
		h.make(ipvlan("gv1", link.L3, ""), true)
		h.users("eth0", "ipvlan l3 link gv1 on eth0")
		h.owned("gv1")
	}},
	{"a shim cannot be made beside a container of another kind", []link.Kind{link.Ipvlan}, func(h trial) {
		h.make(ipvlan("gv1", link.L2, ""), true)
		h.refuse(shim(link.Macvlan, link.Bridge), link.ErrParentBusy)
		h.refuse(shim(link.Ipvlan, link.L3), link.ErrModeConflict)
		h.owned("gv1")
	}},
	{"a shim goes with the VLAN link it hangs from", []link.Kind{link.VLAN}, func(h trial) {
		h.vlans("eth0", []int{65}, "eth0.65", true)
		spec := link.Shim("gvlan", "node-1", "eth0.65", link.Macvlan, link.Bridge, "")
		h.make(spec, true)
		h.owned("eth0.65", spec.Name)
		h.remove("eth0.65", nil)
		h.owned()
	}},
	{"another driver's shim is a link like others", nil, func(h trial) {
		theirs := link.Shim("other", "node-1", "eth0", link.Macvlan, link.Bridge, "")
		if _, err := h.Other.Ensure(h.t.Context(), theirs); err != nil {
			h.t.Fatal(err)
		}
		h.refuse(macvlan("gv1", link.Passthru), link.ErrModeConflict)
		h.remove(theirs.Name, link.ErrForeign)
	}},
}
