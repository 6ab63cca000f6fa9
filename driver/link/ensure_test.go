package link_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
)

func TestConcurrentEnsureMakesOne(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	var wg sync.WaitGroup
	created := make(chan bool, 16)
	for range cap(created) {
		wg.Go(func() {
			made, err := w.Ensure(t.Context(), endpoint("gv1", "eth0"))
			if err != nil {
				t.Error(err)
			}
			created <- made.Created
		})
	}
	wg.Wait()
	close(created)
	n := 0
	for c := range created {
		if c {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 16 concurrent calls made the link, want 1", n)
	}
}

// A container that died took its sandbox and its link with it; the name is
// free again.
func TestLinkGoesWithItsSandbox(t *testing.T) {
	host, sandbox := newWorld(t), newWorld(t)
	host.card(t, "eth0")
	if _, err := host.Ensure(t.Context(), endpoint("gv1", "eth0")); err != nil {
		t.Fatal(err)
	}
	host.moveTo(t, "gv1", sandbox, "eth0")
	made, err := host.Ensure(t.Context(), endpoint("gv1", "eth0"))
	if err != nil || !made.Created {
		t.Errorf("Ensure after the link was moved = %+v, %v, want a new one", made, err)
	}
}

func TestVLANLinkIsKept(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	vlan := link.VLANs("eth0", []int{65}, "net1")[0]
	if linktest.Lacks(t, w, link.VLAN) {
		if _, err := w.Ensure(t.Context(), vlan); !errors.Is(err, link.ErrNoKernelSupport) {
			t.Errorf("Ensure = %v, want %v", err, link.ErrNoKernelSupport)
		}
		return
	}
	first, err := w.Ensure(t.Context(), vlan)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("its MTU follows the master, up and down", func(t *testing.T) {
		for _, mtu := range []int{9000, 1400} {
			w.do(t, func() error { return w.handle.LinkSetMTU(w.link(t, "eth0"), mtu) })
			again, err := w.Ensure(t.Context(), vlan)
			if err != nil {
				t.Fatal(err)
			}
			if again.Created || again.Index != first.Index {
				t.Errorf("Ensure = %+v, want the link %+v kept", again, first)
			}
			if got := w.link(t, "eth0.65").Attrs().MTU; got != mtu {
				t.Errorf("MTU = %d, want %d", got, mtu)
			}
		}
	})
	t.Run("it is set up again", func(t *testing.T) {
		w.setDown(t, "eth0.65")
		if _, err := w.Ensure(t.Context(), vlan); err != nil {
			t.Fatal(err)
		}
		if l, err := w.Read(t.Context(), "eth0.65"); err != nil || !l.Up {
			t.Errorf("Read = %+v, %v, want it up", l, err)
		}
	})
	t.Run("its name is not given to another VLAN", func(t *testing.T) {
		other := vlan
		other.VLAN = 66
		if _, err := w.Ensure(t.Context(), other); !errors.Is(err, link.ErrInUse) {
			t.Errorf("Ensure = %v, want %v", err, link.ErrInUse)
		}
	})
	t.Run("it is made again after its master came back", func(t *testing.T) {
		w.do(t, func() error { return w.handle.LinkDel(w.link(t, "eth0")) })
		if _, err := w.Ensure(t.Context(), vlan); !errors.Is(err, link.ErrNotFound) {
			t.Errorf("Ensure without the master = %v, want %v", err, link.ErrNotFound)
		}
		w.card(t, "eth0")
		if made, err := w.Ensure(t.Context(), vlan); err != nil || !made.Created {
			t.Errorf("Ensure = %+v, %v, want it made", made, err)
		}
	})
}

// The same number in an 802.1ad service tag is another VLAN.
func TestServiceTagIsAnotherVLAN(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	if linktest.Lacks(t, w, link.VLAN) {
		if _, err := w.EnsureVLANs(t.Context(), "eth0", []int{65}, "net1"); !errors.Is(err, link.ErrNoKernelSupport) {
			t.Errorf("EnsureVLANs = %v, want %v", err, link.ErrNoKernelSupport)
		}
		return
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "service", w.link(t, "eth0").Attrs().Index
	w.do(t, func() error {
		return w.handle.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 65, VlanProtocol: netlink.VLAN_PROTOCOL_8021AD})
	})
	made, err := w.EnsureVLANs(t.Context(), "eth0", []int{65}, "net1")
	if err != nil || made.Name != "eth0.65" || !made.Created {
		t.Errorf("EnsureVLANs = %+v, %v, want eth0.65 made", made, err)
	}
}
