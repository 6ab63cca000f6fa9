package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"gvlan/driver/engine"
)

// AddNetwork puts a network there as it is, without its endpoints and without an
// event, and returns its id, which it makes if the network has none.
func (e *Engine) AddNetwork(network engine.Network) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if network.ID == "" {
		network.ID = e.newID()
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
	return e.listNetworks(func(n *engine.Network) bool { return driver == "" || n.Driver == driver }), nil
}

func (e *Engine) listNetworks(want func(*engine.Network) bool) []engine.Network {
	list := []engine.Network{}
	for _, n := range e.networks {
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
	n, err := e.findNetwork(id)
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
		ID: e.newID(), Name: r.Name, Driver: r.Driver, Scope: engine.ScopeLocal, Created: e.now(),
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
	n, err := e.findNetwork(id)
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
	for _, listed := range e.listNetworks(func(n *engine.Network) bool { return len(n.Endpoints) == 0 }) {
		e.destroyNetwork(e.networks[listed.ID])
	}
	e.emit(engine.KindNetwork, engine.ActionPrune, "", map[string]string{"reclaimed": "0"})
}

func (e *Engine) destroyNetwork(n *engine.Network) {
	delete(e.networks, n.ID)
	e.emitNetwork(engine.ActionDestroy, n, "")
}

// findNetwork takes an id or a name, an id first.
func (e *Engine) findNetwork(key string) (*engine.Network, error) {
	if n, ok := e.networks[key]; ok {
		return n, nil
	}
	for _, n := range e.networks {
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
