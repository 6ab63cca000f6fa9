package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvlan/driver/link"
)

// Attachment is what Docker needs to put a container on the network: a link
// in the host's namespace that Docker moves, renames and addresses.
type Attachment struct {
	Link               string
	Name, Prefix       string         // of the link inside the container; "": Docker's choice, and eth
	Gateway4, Gateway6 netip.Addr     // zero: none
	Connected          []netip.Prefix // routes by device
}

// Join makes the endpoint's link on the parent that is right now.
func (d *Driver) Join(ctx context.Context, endpoint, sandbox string) (Attachment, error) {
	e, ok := d.state.endpoint(endpoint)
	if !ok {
		return Attachment{}, fmt.Errorf("%w: %s", ErrUnknownEndpoint, shortID(endpoint))
	}
	n, ok := d.state.network(e.Network)
	if !ok {
		return Attachment{}, fmt.Errorf("%w: %s", ErrUnknownNetwork, shortID(e.Network))
	}
	on, err := d.parentFor(ctx, n, e)
	if err != nil {
		return Attachment{}, err
	}
	if err := d.judge(n, on.Name, e.ID); err != nil {
		return Attachment{}, err
	}
	if err := d.judgeMAC(ctx, n, e, on.Name); err != nil {
		return Attachment{}, err
	}
	e.Parent, e.Chosen, e.Sandbox, e.Link = on.Name, on.Chosen, sandbox, link.EndpointName(e.ID)
	if err := d.judgeElsewhere(ctx, n, e); err != nil {
		return Attachment{}, err
	}
	if err := d.makeLink(ctx, n, e); err != nil {
		return Attachment{}, err
	}
	if err := d.joined(n, e); err != nil {
		return Attachment{}, errors.Join(err, d.cfg.Links.Remove(ctx, e.Link))
	}
	return attachment(n, e), nil
}

// makeLink makes the container's link. A stale one of a dead endpoint with
// the same MAC would keep it from coming up, so that goes first.
func (d *Driver) makeLink(ctx context.Context, n hostNetwork, e hostEndpoint) error {
	spec := n.linkSpec(e)
	if n.Options.Kind == link.Macvlan {
		mac, err := net.ParseMAC(e.MAC)
		if err != nil {
			return fmt.Errorf("%w: %q of endpoint %s", ErrMAC, e.MAC, shortID(e.ID))
		}
		spec.MAC = mac
	}
	for _, addr := range e.addresses() {
		if _, err := d.cfg.Links.RemoveStale(ctx, e.Parent, spec.MAC, addr, d.lives(e.ID)); err != nil {
			return fmt.Errorf("clear the way for a container on network %s: %w", n.title(), err)
		}
	}
	if _, err := d.cfg.Links.Ensure(ctx, spec); err != nil {
		return fmt.Errorf("attach a container to network %s on node %s: %w", n.title(), d.cfg.host(), err)
	}
	return nil
}

// linkSpec is the endpoint's link but for its MAC.
func (n hostNetwork) linkSpec(e hostEndpoint) link.Spec {
	return link.Spec{
		Name: e.Link, Kind: n.Options.Kind, Mode: n.Options.Mode, Flag: n.Options.Flag,
		Parent: e.Parent, MTU: n.Options.MTU, Owner: e.ID,
	}
}

// lives tells which owners of links are endpoints of this host other than
// self.
func (d *Driver) lives(self string) func(name, owner string) bool {
	return func(_, owner string) bool {
		_, known := d.state.endpoint(owner)
		return known && owner != self
	}
}

// joined journals the endpoint's place and opens its sandbox for names.
func (d *Driver) joined(n hostNetwork, e hostEndpoint) error {
	if _, err := d.state.changeEndpoint(e.ID, func(have *hostEndpoint) { *have = e }); err != nil {
		return err
	}
	d.openSandbox(n, e)
	d.announcer.joined(e)
	d.poke()
	return nil
}

// attachment is what Docker is told of a joined endpoint.
func attachment(n hostNetwork, e hostEndpoint) Attachment {
	at := Attachment{Link: e.Link, Name: e.IfName, Prefix: n.Options.IfPrefix, Gateway4: gatewayFor(n, e.IPv4), Gateway6: gatewayFor(n, e.IPv6)}
	if n.Options.Layer3() {
		at.Connected = layer3Routes(n, e)
	}
	return at
}

// layer3Routes are the routes by device of an L3 endpoint: the default ones
// or, where nothing leads out, those to the network's other subnets.
func layer3Routes(n hostNetwork, e hostEndpoint) []netip.Prefix {
	var routes []netip.Prefix
	for _, addr := range e.addresses() {
		if !n.isolated() {
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

// parentFor is the parent of a new endpoint: while endpoints use one and the
// candidates are the same, that one, so that a network stays on one parent;
// else what the candidates say now.
func (d *Driver) parentFor(ctx context.Context, n hostNetwork, e hostEndpoint) (parent, error) {
	found, err := d.ensureParent(ctx, n)
	if err != nil {
		return parent{}, err
	}
	for _, other := range d.state.endpointsOf(n.ID) {
		if other.ID == e.ID || other.Link == "" || other.Parent == found.Name {
			continue
		}
		if other.Chosen == found.Chosen && d.exists(ctx, other.Parent) {
			return parent{Name: other.Parent, Chosen: other.Chosen}, nil
		}
		d.log.Info("new containers of the network use another parent now",
			"network", n.title(), "parent", found.Name, "before", other.Parent)
		break
	}
	return found, nil
}

// ensureParent makes what the network hangs from now, and journals it.
func (d *Driver) ensureParent(ctx context.Context, n hostNetwork) (parent, error) {
	d.parents.mu.Lock()
	defer d.parents.mu.Unlock()
	found, err := d.parents.ensure(ctx, n)
	if err != nil || !n.take(found) {
		return found, err
	}
	return found, d.state.changeNetwork(n.ID, func(n *hostNetwork) { n.take(found) })
}

func (d *Driver) exists(ctx context.Context, name string) bool {
	have, err := d.parents.inventory(ctx)
	if err != nil {
		return false
	}
	for _, i := range have {
		if i.Name == name {
			return true
		}
	}
	return false
}

// Leave notes that the container left; Docker moves the link back to the
// host's namespace after it and then deletes the endpoint.
func (d *Driver) Leave(_ context.Context, endpoint string) error {
	e, ok := d.state.endpoint(endpoint)
	if !ok {
		return nil
	}
	d.dropSandbox(e)
	_, err := d.state.changeEndpoint(endpoint, func(e *hostEndpoint) { e.Sandbox = "" })
	return err
}
