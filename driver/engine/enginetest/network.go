package enginetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"gvlan/driver/engine"
)

// networks are an engine's, by id.
type networks map[string]*engine.Network

// AddNetwork puts a network there as it is, without its endpoints and without an
// event, and returns its id, which it makes if the network has none.
func (e *Engine) AddNetwork(network engine.Network) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if network.ID == "" {
		network.ID = e.serial.id()
	}
	kept := cloneNetwork(network)
	kept.Endpoints = nil
	e.networks[network.ID] = &kept
	return network.ID
}

// Networks is engine.Engine.Networks.
func (e *Engine) Networks(ctx context.Context, driver string) ([]engine.Network, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Networks"); err != nil {
		return nil, err
	}
	return e.networks.list(func(n *engine.Network) bool { return driver == "" || n.Driver == driver }), nil
}

func (all networks) list(want func(*engine.Network) bool) []engine.Network {
	list := []engine.Network{}
	for _, n := range all {
		if want(n) {
			listed := cloneNetwork(*n)
			listed.Endpoints = nil
			list = append(list, listed)
		}
	}
	slices.SortFunc(list, func(a, b engine.Network) int { return a.Created.Compare(b.Created) })
	return list
}

// Network is engine.Engine.Network.
func (e *Engine) Network(ctx context.Context, id string) (engine.Network, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Network"); err != nil {
		return engine.Network{}, err
	}
	n, err := e.networks.find(id)
	if err != nil {
		return engine.Network{}, fmt.Errorf("inspect network %s: %w", id, err)
	}
	inspected := cloneNetwork(*n)
	slices.SortFunc(inspected.Endpoints, func(a, b engine.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return inspected, nil
}

// CreateNetwork is engine.Engine.CreateNetwork.
func (e *Engine) CreateNetwork(ctx context.Context, r engine.NetworkRequest) (string, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "CreateNetwork"); err != nil {
		return "", err
	}
	for _, n := range e.networks {
		if n.Name == r.Name {
			return "", fmt.Errorf("create network %s: %w", r.Name, engine.ErrNameTaken)
		}
	}
	made := cloneNetwork(engine.Network{
		ID: e.serial.id(), Name: r.Name, Driver: r.Driver, Scope: engine.ScopeLocal, Created: e.now(),
		IPv4: r.IPv4, IPv6: r.IPv6, Internal: r.Internal, Attachable: r.Attachable,
		Labels: r.Labels, Options: r.Options, IPAM: r.IPAM,
	})
	e.networks[made.ID] = &made
	e.emitNetwork(engine.ActionCreate, &made, "")
	return made.ID, nil
}

// RemoveNetwork is engine.Engine.RemoveNetwork.
func (e *Engine) RemoveNetwork(ctx context.Context, id string) error {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "RemoveNetwork"); err != nil {
		return err
	}
	n, err := e.networks.find(id)
	if err != nil {
		return nil
	}
	if len(n.Endpoints) > 0 {
		return fmt.Errorf("remove network %s: %w", id, engine.ErrInUse)
	}
	e.destroyNetwork(n)
	return nil
}

// PruneNetworks is `docker network prune -f`: it removes every network without
// endpoints, also those that stopped containers refer to.
func (e *Engine) PruneNetworks() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, listed := range e.networks.list(func(n *engine.Network) bool { return len(n.Endpoints) == 0 }) {
		e.destroyNetwork(e.networks[listed.ID])
	}
	e.emit(engine.KindNetwork, engine.ActionPrune, "", map[string]string{"reclaimed": "0"})
}

func (e *Engine) destroyNetwork(n *engine.Network) {
	delete(e.networks, n.ID)
	e.emitNetwork(engine.ActionDestroy, n, "")
}

// find takes an id or a name, an id first.
func (all networks) find(key string) (*engine.Network, error) {
	if n, ok := all[key]; ok {
		return n, nil
	}
	for _, n := range all {
		if n.Name == key {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%w: network %s", engine.ErrNotFound, key)
}

func cloneNetwork(n engine.Network) engine.Network {
	n.Labels, n.Options = orEmpty(n.Labels), orEmpty(n.Options)
	n.IPAM.Options = maps.Clone(n.IPAM.Options)
	n.IPAM.Pools = slices.Clone(n.IPAM.Pools)
	for i := range n.IPAM.Pools {
		n.IPAM.Pools[i].Aux = maps.Clone(n.IPAM.Pools[i].Aux)
	}
	n.Endpoints = slices.Clone(n.Endpoints)
	return n
}

// orEmpty copies a map as engines print it: never null.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

var errAttached = errors.New("endpoint already exists in network")

// Connect is engine.Engine.Connect.
func (e *Engine) Connect(ctx context.Context, network, container string, settings engine.EndpointSettings) error {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Connect"); err != nil {
		return err
	}
	op := fmt.Sprintf("connect container %s to network %s", container, network)
	c, err := e.containers.find(container)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	n, err := e.networks.find(network)
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
	c, err := e.containers.find(container)
	if err != nil {
		return nil
	}
	name := network
	if n, err := e.networks.find(network); err == nil {
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
		n, err := e.networks.find(key)
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
	a.NetworkID, a.EndpointID = n.ID, e.serial.id()
	a.MAC = a.Settings.MAC
	if a.MAC == nil {
		serial := e.serial.next()
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

// rename puts the container's name into its network's list.
func (all networks) rename(c *engine.ContainerDetail, a *engine.Attachment) {
	if n := all[a.NetworkID]; n != nil {
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
