package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
	"gvlan/ipam"
)

// What an endpoint can be refused for, beside option.ErrMAC.
var (
	// ErrUnknownNetwork: this host's journal has no such network.
	ErrUnknownNetwork = errors.New("network is not known to gvlan on this host")
	// ErrUnknownEndpoint: this host's journal has no such endpoint.
	ErrUnknownEndpoint = errors.New("endpoint is not known to gvlan on this host")
	// ErrDrained: an operator drained this node.
	ErrDrained = errors.New("node is drained")
)

// CreateEndpoint binds the endpoint's addresses: from here on they are its
// own. It returns the MAC to use, or "" where Docker must not set one.
func (d *Driver) CreateEndpoint(ctx context.Context, r plugin.NewEndpoint) (mac string, err error) {
	n, ok := d.state.Network(r.Network)
	if !ok || n.Stage == journal.StageGone {
		return "", fmt.Errorf("%w: %s (its journal may be lost: gvlan status tells)", ErrUnknownNetwork, visible.ID(r.Network))
	}
	if err := d.refuseLost(n); err != nil {
		return "", err
	}
	if d.cfg.Drained != nil && d.cfg.Drained() {
		return "", fmt.Errorf("%w: node %s takes no new containers until gvlan node drain --undo %s", ErrDrained, d.cfg.host(), d.cfg.host())
	}
	e := journal.Endpoint{ID: r.ID, Network: r.Network, IPv4: r.IPv4, IPv6: r.IPv6, Since: d.milliseconds()}
	e.IfName, e.Unheeded, e.MACAsked = r.Options.IfName, r.Options.Unheeded, r.MAC != ""
	e.Container.Name = r.Name
	if e.MAC, mac, err = d.endpointMAC(n, r); err != nil {
		return "", err
	}
	if err := d.bind(ctx, n, e); err != nil {
		return "", err
	}
	failpoint("endpoint: bound")
	if err := d.state.PutEndpoint(e); err != nil {
		return "", errors.Join(err, d.addresses.Unbind(ctx, e.ID))
	}
	return mac, nil
}

// bind makes the endpoint the holder of its addresses, in the store.
func (d *Driver) bind(ctx context.Context, n journal.Network, e journal.Endpoint) error {
	if n.Foreign {
		return nil
	}
	return d.addresses.Bind(ctx, ipam.Binding{
		Network: n.ID, Endpoint: e.ID, Addresses: e.Addresses(), Record: d.record(n, e),
	})
}

// record is what the store says of an endpoint.
func (d *Driver) record(n journal.Network, e journal.Endpoint) store.Endpoint {
	return store.Endpoint{
		Endpoint: e.ID, Node: d.self.Node(), Network: n.UUID, Name: n.Name, Segment: n.Segment,
		IPv4: prefixText(e.IPv4), IPv6: prefixText(e.IPv6), MAC: e.MAC,
		Link: e.Link, Parent: e.Parent, Sandbox: e.Sandbox, Since: e.Since / 1000, Container: e.Container,
	}
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// EndpointInfo is what `docker network inspect` could be told; Docker asks
// it often.
func (d *Driver) EndpointInfo(id string) map[string]string {
	e, ok := d.state.Endpoint(id)
	if !ok {
		return map[string]string{}
	}
	info := map[string]string{}
	for key, value := range map[string]string{"gvlan.parent": e.Parent, "gvlan.link": e.Link} {
		if value != "" {
			info[key] = value
		}
	}
	return info
}

// DeleteEndpoint forgets an endpoint; the release of its addresses follows
// from Docker. Unknown endpoints are success: Docker drops its own whatever
// is answered.
func (d *Driver) DeleteEndpoint(ctx context.Context, id string) error {
	e, ok := d.state.Endpoint(id)
	if !ok {
		return nil
	}
	return d.forgetEndpoint(ctx, e)
}

// forgetEndpoint takes down the link, lets go of the addresses and clears the
// journal, in that order: whatever dies in between is found by reconcile.
func (d *Driver) forgetEndpoint(ctx context.Context, e journal.Endpoint) error {
	d.dropSandbox(e)
	if e.Link != "" {
		if err := d.cfg.Links.Remove(ctx, e.Link); err != nil {
			d.log.Error("a container's link cannot be removed: swept later", "link", e.Link, "endpoint", visible.ID(e.ID), "err", err)
		}
	}
	if err := d.addresses.Unbind(ctx, e.ID); err != nil {
		return err
	}
	if err := d.keepMAC(e); err != nil {
		return err
	}
	if err := d.state.DropEndpoint(e.ID); err != nil {
		return err
	}
	d.poke()
	return nil
}
