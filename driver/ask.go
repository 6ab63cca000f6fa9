package driver

import (
	"context"
	"fmt"
	"net/netip"

	"gvlan/driver/link"
)

// Ask returns those of the addresses that answer on the LAN of a network, as
// asked at its parent on this host. A network without a way out has none that
// could answer, and another driver's is not asked for.
func (d *Driver) Ask(ctx context.Context, network string, addrs []netip.Addr) ([]netip.Addr, error) {
	n, known := d.state.network(network)
	if !known || n.isolated() {
		return nil, nil
	}
	parent, err := d.parents.ensure(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("ask on the LAN of network %s: %w", n.title(), err)
	}
	return link.Ask(ctx, parent.Name, addrs)
}
