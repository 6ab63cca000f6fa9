package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
)

// Join makes the endpoint's link on the parent that is right now.
func (d *Driver) Join(ctx context.Context, endpoint, sandbox string) (plugin.Attachment, error) {
	e, ok := d.state.Endpoint(endpoint)
	if !ok {
		return plugin.Attachment{}, fmt.Errorf("%w: %s", ErrUnknownEndpoint, visible.ID(endpoint))
	}
	n, ok := d.state.Network(e.Network)
	if !ok {
		return plugin.Attachment{}, fmt.Errorf("%w: %s", ErrUnknownNetwork, visible.ID(e.Network))
	}
	on, err := d.parents.For(ctx, n, e)
	if err != nil {
		return plugin.Attachment{}, err
	}
	if err := d.parents.Judge(n, on.Name, e.ID); err != nil {
		return plugin.Attachment{}, err
	}
	if err := d.judgeMAC(ctx, n, e, on.Name); err != nil {
		return plugin.Attachment{}, err
	}
	e.Parent, e.Chosen, e.Sandbox, e.Link = on.Name, on.Chosen, sandbox, link.EndpointName(e.ID)
	if err := d.parents.JudgeElsewhere(ctx, n, e); err != nil {
		return plugin.Attachment{}, err
	}
	if err := d.makeLink(ctx, n, e); err != nil {
		return plugin.Attachment{}, err
	}
	if err := d.joined(n, e); err != nil {
		return plugin.Attachment{}, errors.Join(err, d.cfg.Links.Remove(ctx, e.Link))
	}
	return attachment(n, e), nil
}

// makeLink makes the container's link. A stale one of a dead endpoint with
// the same MAC would keep it from coming up, so that goes first.
func (d *Driver) makeLink(ctx context.Context, n journal.Network, e journal.Endpoint) error {
	spec := parent.LinkSpec(n, e)
	if n.Options.Kind == link.Macvlan {
		mac, err := net.ParseMAC(e.MAC)
		if err != nil {
			return fmt.Errorf("%w: %q of endpoint %s", option.ErrMAC, e.MAC, visible.ID(e.ID))
		}
		spec.MAC = mac
	}
	for _, addr := range e.Addresses() {
		if _, err := d.cfg.Links.RemoveStale(ctx, e.Parent, spec.MAC, addr, d.lives(e.ID)); err != nil {
			return fmt.Errorf("clear the way for a container on network %s: %w", n.Title(), err)
		}
	}
	if _, err := d.cfg.Links.Ensure(ctx, spec); err != nil {
		return fmt.Errorf("attach a container to network %s on node %s: %w", n.Title(), d.cfg.host(), err)
	}
	return nil
}

// lives tells which owners of links are endpoints of this host other than
// self.
func (d *Driver) lives(self string) func(name, owner string) bool {
	return func(_, owner string) bool {
		_, known := d.state.Endpoint(owner)
		return known && owner != self
	}
}

// joined journals the endpoint's place and opens its sandbox for names.
func (d *Driver) joined(n journal.Network, e journal.Endpoint) error {
	if _, err := d.state.ChangeEndpoint(e.ID, func(have *journal.Endpoint) { *have = e }); err != nil {
		return err
	}
	d.openSandbox(n, e)
	d.announcer.joined(e)
	d.poke()
	return nil
}

// attachment is what Docker is told of a joined endpoint.
func attachment(n journal.Network, e journal.Endpoint) plugin.Attachment {
	at := plugin.Attachment{Link: e.Link, Name: e.IfName, Prefix: n.Options.IfPrefix, Gateway4: n.GatewayFor(e.IPv4), Gateway6: n.GatewayFor(e.IPv6)}
	if n.Options.Layer3() {
		at.Connected = layer3Routes(n, e)
	}
	return at
}

// layer3Routes are the routes by device of an L3 endpoint: the default ones
// or, where nothing leads out, those to the network's other subnets.
func layer3Routes(n journal.Network, e journal.Endpoint) []netip.Prefix {
	var routes []netip.Prefix
	for _, addr := range e.Addresses() {
		if !n.Isolated() {
			everywhere, _ := addr.Prefix(0)
			routes = append(routes, everywhere)
			continue
		}
		for _, pool := range n.Pools {
			if pool.Subnet.Addr().Is4() == addr.Is4() && !pool.Subnet.Contains(addr) {
				routes = append(routes, pool.Subnet)
			}
		}
	}
	return routes
}

// Leave notes that the container left; Docker moves the link back to the
// host's namespace after it and then deletes the endpoint.
func (d *Driver) Leave(_ context.Context, endpoint string) error {
	e, ok := d.state.Endpoint(endpoint)
	if !ok {
		return nil
	}
	d.dropSandbox(e)
	_, err := d.state.ChangeEndpoint(endpoint, func(e *journal.Endpoint) { e.Sandbox = "" })
	return err
}
