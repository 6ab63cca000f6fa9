package link_test

import (
	"testing"

	"github.com/vishvananda/netlink"

	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
)

func TestKernelConforms(t *testing.T) {
	linktest.Conform(t, func(t *testing.T) linktest.Host {
		w := newWorld(t)
		return linktest.Host{
			Maker:  w,
			Looker: w,
			Other:  openKernel(t, w.ns, "other"),
			Card:   func(name string) { w.card(t, name) },
			SetUp: func(name string, up bool) {
				if !up {
					w.setDown(t, name)
					return
				}
				w.do(t, func() error { return w.handle.LinkSetUp(w.link(t, name)) })
			},
			Foreign: func(spec link.Spec) { w.foreign(t, spec) },
			Address: func(name, prefix string) {
				address, err := netlink.ParseAddr(prefix)
				if err != nil {
					t.Fatal(err)
				}
				w.do(t, func() error { return w.handle.AddrAdd(w.link(t, name), address) })
			},
		}
	})
}

// foreign makes a macvlan or VLAN link as a person would.
func (w world) foreign(t *testing.T, spec link.Spec) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = spec.Name
	attrs.ParentIndex = w.link(t, spec.Parent).Attrs().Index
	var l netlink.Link = &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if spec.Kind == link.VLAN {
		l = &netlink.Vlan{LinkAttrs: attrs, VlanId: spec.VLAN}
	}
	w.do(t, func() error { return w.handle.LinkAdd(l) })
}
