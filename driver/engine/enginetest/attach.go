package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"gvlan/driver/engine"
)

var errAttached = errors.New("endpoint already exists in network")

// Connect is engine.Engine.Connect.
func (e *Engine) Connect(ctx context.Context, network, container string, settings engine.EndpointSettings) error {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Connect"); err != nil {
		return err
	}
	op := fmt.Sprintf("connect container %s to network %s", container, network)
	c, err := e.findContainer(container)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := e.findNetwork(network)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	i := slices.IndexFunc(c.Attachments, func(a engine.Attachment) bool { return a.Network == n.Name })
	switch {
	case i >= 0 && running(c):
		return fmt.Errorf("%s: %w", op, errAttached)
	case i >= 0:
		c.Attachments = slices.Delete(c.Attachments, i, i+1)
	}
	settings = cloneSettings(settings)
	settings.MAC = nil // as in Docker 28: a MAC is for the networks a container is created with
	c.Attachments = append(c.Attachments, engine.Attachment{Network: n.Name, Settings: settings})
	slices.SortFunc(c.Attachments, func(a, b engine.Attachment) int { return strings.Compare(a.Network, b.Network) })
	for i := range c.Attachments {
		if a := &c.Attachments[i]; a.Network == n.Name {
			a.DNSNames = dnsNames(c, a.Settings.Aliases)
			if running(c) {
				e.attach(c, a, n)
			}
		}
	}
	return nil
}

// Disconnect is engine.Engine.Disconnect.
func (e *Engine) Disconnect(ctx context.Context, network, container string, _ bool) error {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Disconnect"); err != nil {
		return err
	}
	c, err := e.findContainer(container)
	if err != nil {
		return nil
	}
	name := network
	if n, err := e.findNetwork(network); err == nil {
		name = n.Name
	}
	i := slices.IndexFunc(c.Attachments, func(a engine.Attachment) bool { return a.Network == name })
	if i < 0 {
		return nil
	}
	e.detach(c, &c.Attachments[i])
	c.Attachments = slices.Delete(c.Attachments, i, i+1)
	return nil
}

// join attaches a container that starts to all its networks, or to none. As Docker
// does, it goes by the network's id if it knows one.
func (e *Engine) join(c *engine.ContainerDetail) error {
	found := make([]*engine.Network, len(c.Attachments))
	for i, a := range c.Attachments {
		key := a.NetworkID
		if key == "" {
			key = a.Network
		}
		n, err := e.findNetwork(key)
		if err != nil {
			return err
		}
		found[i] = n
	}
	for i, n := range found {
		c.Attachments[i].DNSNames = dnsNames(c, c.Attachments[i].Settings.Aliases)
		e.attach(c, &c.Attachments[i], n)
	}
	return nil
}

func (e *Engine) attach(c *engine.ContainerDetail, a *engine.Attachment, n *engine.Network) {
	a.NetworkID, a.EndpointID = n.ID, e.newID()
	a.MAC = a.Settings.MAC
	if a.MAC == nil {
		serial := e.next()
		a.MAC = net.HardwareAddr{2, 0, 0, 0, byte(serial >> 8), byte(serial)}
	}
	for _, pool := range n.IPAM.Pools {
		switch {
		case pool.Subnet.Addr().Is4() && n.IPv4 && !a.IPv4.IsValid():
			a.IPv4, a.Gateway4 = give(n, pool, a.Settings.IPv4), pool.Gateway
		case pool.Subnet.Addr().Is6() && n.IPv6 && !a.IPv6.IsValid():
			a.IPv6, a.Gateway6 = give(n, pool, a.Settings.IPv6), pool.Gateway
		}
	}
	n.Endpoints = append(n.Endpoints, engine.Endpoint{
		ID: a.EndpointID, ContainerID: c.ID, Name: c.Name, MAC: a.MAC, IPv4: a.IPv4, IPv6: a.IPv6,
	})
	e.emitNetwork(engine.ActionConnect, n, c.ID)
}

// give returns the address asked for, or the lowest free one of the pool.
func give(n *engine.Network, pool engine.Pool, asked netip.Addr) netip.Prefix {
	if asked.IsValid() {
		return netip.PrefixFrom(asked, pool.Subnet.Bits())
	}
	from := pool.Subnet
	if pool.Range.IsValid() {
		from = pool.Range
	}
	addr := from.Masked().Addr()
	if from == pool.Subnet {
		addr = addr.Next()
	}
	for busy(n, pool, addr) {
		addr = addr.Next()
	}
	return netip.PrefixFrom(addr, pool.Subnet.Bits())
}

func busy(n *engine.Network, pool engine.Pool, addr netip.Addr) bool {
	for _, aux := range pool.Aux {
		if aux == addr {
			return true
		}
	}
	return addr == pool.Gateway || slices.ContainsFunc(n.Endpoints, func(ep engine.Endpoint) bool {
		return ep.IPv4.Addr() == addr || ep.IPv6.Addr() == addr
	})
}

// detach ends an endpoint; the attachment keeps the id of its network.
func (e *Engine) detach(c *engine.ContainerDetail, a *engine.Attachment) {
	if a.EndpointID == "" {
		return
	}
	n := e.networks[a.NetworkID]
	n.Endpoints = slices.DeleteFunc(n.Endpoints, func(ep engine.Endpoint) bool { return ep.ID == a.EndpointID })
	*a = engine.Attachment{Network: a.Network, NetworkID: a.NetworkID, Settings: a.Settings, DNSNames: a.DNSNames}
	e.emitNetwork(engine.ActionDisconnect, n, c.ID)
}

// updateEndpoint puts the container's name into its network's list.
func (e *Engine) updateEndpoint(c *engine.ContainerDetail, a *engine.Attachment) {
	if n := e.networks[a.NetworkID]; n != nil {
		for i := range n.Endpoints {
			if n.Endpoints[i].ID == a.EndpointID {
				n.Endpoints[i].Name = c.Name
			}
		}
	}
}

// dnsNames are the names Docker's resolver gives a container on one network.
func dnsNames(c *engine.ContainerDetail, aliases []string) []string {
	names := []string{c.Name}
	for _, name := range append(slices.Clone(aliases), c.ID[:12], c.Hostname) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
