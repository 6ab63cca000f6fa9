// Package netnstest makes network namespaces for tests and benchmarks. Nothing
// in the product makes one: Docker does.
package netnstest

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
)

// New makes an empty namespace without a name. It has a loopback that is
// down, and goes away with Close when no process or socket is left in it.
func New() (*netns.Namespace, error) {
	home, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	var made *netns.Namespace
	err = home.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		made, err = netns.Current()
		return err
	})
	return made, err
}

// Open is New for the length of a test, with a netlink handle in it.
func Open(t testing.TB) (*netns.Namespace, *netlink.Handle) {
	t.Helper()
	ns, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	handle, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(handle.Close)
	return ns, handle
}
