package driver

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
	"gvlan/driver/visible"
)

// Silence takes down the link of an endpoint whose address somebody else has
// by right, inside its sandbox. The container runs on without it; a restart
// of the container asks for an address anew.
func (d *Driver) Silence(endpoint string, addr netip.Addr) error {
	e, ok := d.state.Endpoint(endpoint)
	if !ok || e.Sandbox == "" {
		return nil
	}
	err := netns.Do(d.cfg.OnHost(e.Sandbox), func() error {
		name, err := holderOf(addr)
		if err != nil {
			return err
		}
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		l, err := handle.LinkByName(name)
		if err != nil {
			return err
		}
		return handle.LinkSetDown(l)
	})
	if err != nil {
		return fmt.Errorf("take down the link of %s: %w", addr, err)
	}
	return nil
}

// Called is what messages call an endpoint: its container where that is known.
func (d *Driver) Called(endpoint string) string {
	if e, ok := d.state.Endpoint(endpoint); ok && e.Container.Name != "" {
		return "container " + e.Container.Name
	}
	return "endpoint " + visible.ID(endpoint)
}
