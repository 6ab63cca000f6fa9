package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// errNoAnswers: what a routed network's containers have is silent on the LAN.
var errNoAnswers = errors.New("an l3 network's addresses answer nobody's ARP, whoever has them")

// Ask returns those of the addresses that answer on the LAN of a network, as
// asked at its parent on this host, which is made if need be. A network without
// a way out has none that could answer, and another driver's is not asked for.
func (d *Driver) Ask(ctx context.Context, network string, addrs []netip.Addr) ([]netip.Addr, error) {
	n, known := d.state.Network(network)
	if !known || n.Isolated() {
		return nil, nil
	}
	if n.Options.Layer3() {
		return nil, fmt.Errorf("ask on the LAN of network %s: %w", n.Title(), errNoAnswers)
	}
	on, err := d.parents.Ensure(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("ask on the LAN of network %s: %w", n.Title(), err)
	}
	return d.cfg.AskLAN(ctx, on.Name, addrs)
}
