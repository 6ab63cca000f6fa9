package link_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
)

func TestInUseFindsLinksInSandboxes(t *testing.T) {
	host, sandbox, stranger := newWorld(t), newWorld(t), newWorld(t)
	host.card(t, "eth0")
	host.card(t, "eth1")
	stranger.card(t, "eth0")
	for name, parent := range map[string]string{"gv1": "eth0", "gv2": "eth0", "gv3": "eth1"} {
		if _, err := host.Ensure(t.Context(), endpoint(name, parent)); err != nil {
			t.Fatal(err)
		}
	}
	host.moveTo(t, "gv2", sandbox, "eth0")
	host.moveTo(t, "gv3", sandbox, "eth1")
	// Its parent has the index of ours, in yet another namespace.
	stranger.foreign(t, endpoint("other", "eth0"))
	stranger.moveTo(t, "other", sandbox, "other")

	got, err := host.InUse(t.Context(), "eth0", sandbox.ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	spec := func(name, owner string) link.Spec {
		return link.Spec{Name: name, Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0", MTU: 1500, Owner: owner}
	}
	want := []link.Usage{
		{Spec: spec("gv1", "ep-gv1"), Owned: true, Namespace: link.Current},
		{Spec: spec("eth0", "ep-gv2"), Owned: true, Namespace: sandbox.ns.Fd()},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(link.Spec{}, "MAC")); diff != "" {
		t.Errorf("links on eth0 (-want +got):\n%s", diff)
	}
}

// What hangs from a parent unseen, in another namespace, the kernel still
// weighs; its answers have to become the same errors.
func TestKernelRefusesForUnseenLinks(t *testing.T) {
	passthru := endpoint("gv1", "eth0")
	passthru.Mode = link.Passthru
	ipvlan := link.Spec{Name: "gv1", Kind: link.Ipvlan, Parent: "eth0"}
	second := endpoint("gv2", "eth0")
	secondIpvlan := ipvlan
	secondIpvlan.Name = "gv2"
	secondPassthru := second
	secondPassthru.Mode = link.Passthru
	for _, tt := range []struct {
		name          string
		first, second link.Spec
		want          error
	}{
		{"macvlan beside passthru", passthru, second, link.ErrModeConflict},
		{"passthru beside macvlan", endpoint("gv1", "eth0"), secondPassthru, link.ErrModeConflict},
		{"macvlan beside ipvlan", ipvlan, second, link.ErrParentBusy},
		{"ipvlan beside macvlan", endpoint("gv1", "eth0"), secondIpvlan, link.ErrParentBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, sandbox := newWorld(t), newWorld(t)
			host.card(t, "eth0")
			want := tt.want
			if (tt.first.Kind == link.Ipvlan || tt.second.Kind == link.Ipvlan) && linktest.Lacks(t, host, link.Ipvlan) {
				want = link.ErrNoKernelSupport
			}
			if _, err := host.Ensure(t.Context(), tt.first); err != nil {
				if !errors.Is(err, want) {
					t.Errorf("Ensure(%s) = %v, want %v", tt.first, err, want)
				}
				return
			}
			host.moveTo(t, "gv1", sandbox, "eth0")
			if _, err := host.Ensure(t.Context(), tt.second); !errors.Is(err, want) {
				t.Errorf("Ensure(%s) = %v, want %v", tt.second, err, want)
			}
			if _, err := host.Read(t.Context(), "gv2"); !errors.Is(err, link.ErrNotFound) {
				t.Errorf("Read(gv2) = %v, want %v", err, link.ErrNotFound)
			}
		})
	}
}

// What the kernel does not refuse, whoever makes ipvlan links has to ask for.
func TestAnotherIpvlanModeFlipsUnseenLinks(t *testing.T) {
	host, sandbox := newWorld(t), newWorld(t)
	host.card(t, "eth0")
	first := link.Spec{Name: "gv1", Kind: link.Ipvlan, Mode: link.L2, Parent: "eth0"}
	second := link.Spec{Name: "gv2", Kind: link.Ipvlan, Mode: link.L3, Flag: link.FlagPrivate, Parent: "eth0"}
	if linktest.Lacks(t, host, link.Ipvlan) {
		if _, err := host.Ensure(t.Context(), first); !errors.Is(err, link.ErrNoKernelSupport) {
			t.Errorf("Ensure = %v, want %v", err, link.ErrNoKernelSupport)
		}
		return
	}
	if _, err := host.Ensure(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	host.moveTo(t, "gv1", sandbox, "eth0")
	use, err := host.InUse(t.Context(), "eth0", sandbox.ns.Fd())
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Judge(second, use); !errors.Is(err, link.ErrModeConflict) {
		t.Errorf("Judge beside %v = %v, want %v", use, err, link.ErrModeConflict)
	}
	if _, err := host.Ensure(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	now, err := sandbox.Read(t.Context(), "eth0")
	if err != nil || now.Mode != link.L3 || now.Flag != link.FlagPrivate {
		t.Errorf("the first link is %s now (%v): does the kernel keep modes apart? Then nobody has to ask", now.Spec, err)
	}
}

// A bond's port cannot be a parent; the bond can.
func TestBondPortIsBusy(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bond0"
	bond := netlink.NewLinkBond(attrs)
	bond.Mode = netlink.BOND_MODE_ACTIVE_BACKUP
	if err := w.handle.LinkAdd(bond); errors.Is(err, unix.EOPNOTSUPP) {
		t.Attr(linktest.LacksKey, "bond")
		if _, err := w.Ensure(t.Context(), endpoint("gv1", "bond0")); !errors.Is(err, link.ErrNotFound) {
			t.Errorf("Ensure on a bond that is not there = %v, want %v", err, link.ErrNotFound)
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	w.setDown(t, "eth0") // bonds take only ports that are down
	w.do(t, func() error { return w.handle.LinkSetMaster(w.link(t, "eth0"), bond) })
	for _, kind := range []link.Kind{link.Macvlan, link.Ipvlan} {
		spec := link.Spec{Name: "gv1", Kind: kind, Parent: "eth0", Owner: "ep-gv1"}
		if _, err := w.Ensure(t.Context(), spec); !errors.Is(err, link.ErrParentBusy) {
			t.Errorf("Ensure(%s) on a bond's port = %v, want %v", spec, err, link.ErrParentBusy)
		}
		spec.Parent = "bond0"
		if _, err := w.Ensure(t.Context(), spec); err != nil {
			t.Errorf("Ensure(%s) on the bond = %v, want nil", spec, err)
		}
		if err := w.Remove(t.Context(), "gv1"); err != nil {
			t.Error(err)
		}
	}
}

func TestBridgePortIsBusy(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = "br0"
	w.do(t, func() error { return w.handle.LinkAdd(bridge) })
	w.do(t, func() error { return w.handle.LinkSetMaster(w.link(t, "eth0"), bridge) })

	if _, err := w.Ensure(t.Context(), endpoint("gv1", "eth0")); !errors.Is(err, link.ErrParentBusy) {
		t.Errorf("Ensure on a bridge port = %v, want %v", err, link.ErrParentBusy)
	}
	if _, err := w.Ensure(t.Context(), endpoint("gv1", "br0")); err != nil {
		t.Errorf("Ensure on the bridge = %v, want nil", err)
	}
	all, err := w.Interfaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Name == "eth0" && i.Master != "br0" {
			t.Errorf("master of eth0 = %q, want br0", i.Master)
		}
	}
}

// Decision by the kernel: the second macvlan link with a MAC cannot come up
// while the first is up, wherever the first is.
func TestRemoveStaleFreesTheMAC(t *testing.T) {
	host, dead, fresh := newWorld(t), newWorld(t), newWorld(t)
	host.card(t, "eth0")
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	start := func(name string, sandbox world) error {
		spec := endpoint(name, "eth0")
		spec.MAC = mac
		if _, err := host.Ensure(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		host.moveTo(t, name, sandbox, "eth0")
		return sandbox.handle.LinkSetUp(sandbox.link(t, "eth0"))
	}
	if err := start("gv1", dead); err != nil {
		t.Fatal(err)
	}
	if err := start("gv2", fresh); !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("a second link with the MAC comes up: %v, want %v", err, unix.EADDRINUSE)
	}
	removed, err := dead.RemoveStale(t.Context(), "", mac, netip.Addr{}, func(_, owner string) bool { return owner == "ep-gv2" })
	if diff := cmp.Diff([]string{"eth0"}, removed); diff != "" || err != nil {
		t.Fatalf("removed in the dead sandbox (-want +got):\n%s%v", diff, err)
	}
	if err := fresh.handle.LinkSetUp(fresh.link(t, "eth0")); err != nil {
		t.Errorf("set up the link after RemoveStale: %v", err)
	}
}

func TestSupportsMakesNothing(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []link.Kind{link.Macvlan, link.Ipvlan, link.VLAN, link.Dummy} {
		linktest.Lacks(t, w, kind)
	}
	if err := w.Supports(t.Context(), link.Macvlan); err != nil {
		t.Errorf("Supports(macvlan) = %v, want nil on every kernel these tests run on", err)
	}
	if err := w.Supports(t.Context(), "made-up"); !errors.Is(err, link.ErrSpec) {
		t.Errorf("Supports(made-up) = %v, want %v", err, link.ErrSpec)
	}
	all, err := w.Interfaces(t.Context())
	if err != nil || len(all) != 1 {
		t.Errorf("Interfaces after probing = %v, %v, want the loopback alone", all, err)
	}
}
