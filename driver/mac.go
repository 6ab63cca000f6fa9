package driver

import (
	"context"
	"errors"
	"fmt"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
	"gvlan/ipam"
)

// endpointMAC returns the endpoint's MAC and what Docker is answered: only a
// MAC it did not send, and never one for ipvlan, whose links share their
// parent's.
func (d *Driver) endpointMAC(n journal.Network, r plugin.NewEndpoint) (has, answer string, err error) {
	if n.Options.Kind == link.Ipvlan {
		if r.MAC != "" {
			return "", "", fmt.Errorf("%w: %s on network %s: ipvlan links share their parent's MAC address, leave --mac-address out", option.ErrMAC, r.MAC, n.Title())
		}
		return "", "", nil
	}
	if r.MAC != "" {
		hw, err := option.ParseMAC(r.MAC)
		return hw.String(), "", err
	}
	addr := r.IPv4
	if !addr.IsValid() {
		addr = r.IPv6
	}
	hw := ipam.MAC(d.self.Cluster(), n.Segment, addr.Addr()).String()
	return hw, hw, nil
}

// judgeMAC refuses a MAC that the kernel would not bring up on a parent, for
// which Docker has no better words than "address already in use": the parent's
// own, and one that a link there has, whatever network and segment that is of.
func (d *Driver) judgeMAC(ctx context.Context, n journal.Network, e journal.Endpoint, parent string) error {
	if n.Options.Kind != link.Macvlan || n.Options.Mode == link.Passthru {
		return nil
	}
	for _, other := range d.state.Endpoints() {
		if other.ID == e.ID || other.MAC != e.MAC || other.Parent != parent || other.Link == "" {
			continue
		}
		holder := "endpoint " + visible.ID(other.ID)
		if other.Container.Name != "" {
			holder = "container " + other.Container.Name
		}
		return fmt.Errorf("%w: %s is in use by %s on %s of node %s: give another --mac-address, or none", ipam.ErrMACTaken, e.MAC, holder, parent, d.cfg.host())
	}
	on, err := d.cfg.Links.Read(ctx, parent)
	if errors.Is(err, link.ErrNotFound) {
		return nil // making the link says it better
	}
	if err != nil {
		return fmt.Errorf("read the MAC address of %s on node %s: %w", parent, d.cfg.host(), err)
	}
	if on.MAC.String() == e.MAC {
		return fmt.Errorf("%w: %s is that of %s itself on node %s: give another --mac-address, or none", ipam.ErrMACTaken, e.MAC, parent, d.cfg.host())
	}
	return nil
}
