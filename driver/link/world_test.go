package link_test

import (
	"testing"

	"github.com/vishvananda/netlink"

	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
)

const driverName = "gvlan"

// world is a throwaway network namespace with a Kernel under test and a
// netlink handle of the test's own. The namespace goes with the test.
type world struct {
	ns     *netns.Namespace
	handle *netlink.Handle
	*link.Kernel
}

func newWorld(t *testing.T) world {
	t.Helper()
	ns, handle := netnstest.Open(t)
	return world{ns: ns, handle: handle, Kernel: openKernel(t, ns, driverName)}
}

func openKernel(t *testing.T, ns *netns.Namespace, driver string) *link.Kernel {
	t.Helper()
	k, err := link.Open(ns.Fd(), driver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// card adds a link that can be a parent on every kernel: one end of a veth
// pair whose other end is x-<name>. Both are up.
func (w world) card(t *testing.T, name string) {
	t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "x-" + name}
	pair.Name = name
	w.do(t, func() error { return w.handle.LinkAdd(pair) })
	for _, end := range []string{name, pair.PeerName} {
		w.do(t, func() error { return w.handle.LinkSetUp(w.link(t, end)) })
	}
}

func (w world) setDown(t *testing.T, name string) {
	t.Helper()
	w.do(t, func() error { return w.handle.LinkSetDown(w.link(t, name)) })
}

func (w world) link(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := w.handle.LinkByName(name)
	if err != nil {
		t.Fatalf("find link %s: %v", name, err)
	}
	return l
}

func (w world) do(t *testing.T, change func() error) {
	t.Helper()
	if err := change(); err != nil {
		t.Fatal(err)
	}
}
