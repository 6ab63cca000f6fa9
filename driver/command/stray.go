package command

import (
	"context"
	"errors"
	"net/netip"

	"gvlan/driver/journal"
	"gvlan/ipam/pool"
)

// StrayLink is a link of ours on this host that neither a container nor a
// network of it has.
type StrayLink struct {
	Name, Kind, Parent string
	Owner              string // the endpoint or network it was made for; "" where its making was cut short
}

// StrayLinks lists them. The next round of reconciling removes them too.
func (cm *Commands) StrayLinks(ctx context.Context) ([]StrayLink, error) {
	found, err := cm.Parents.Strays(ctx)
	var all []StrayLink
	for _, l := range found {
		all = append(all, StrayLink{Name: l.Name, Kind: string(l.Kind), Parent: l.Parent, Owner: l.Owner})
	}
	return all, err
}

// RemoveStrayLink removes one, and reports whether it still was one.
func (cm *Commands) RemoveStrayLink(ctx context.Context, name string) (removed bool, err error) {
	return cm.Parents.RemoveStray(ctx, name)
}

// ErrNoWitness: this host's agent cannot say what is its own.
var ErrNoWitness = errors.New("this host's agent does not know all that is its own yet")

// Witness is what this host knows of its own at a moment: what its agent
// remembers, and what its engine lists.
type Witness struct {
	node   string
	memory *journal.Memory
	engine map[string]bool // endpoints
}

// Witness asks the engine. An agent that has not compared its memory with the store
// yet knows too little.
func (cm *Commands) Witness(ctx context.Context) (*Witness, error) {
	if !cm.Addresses.KnowsItsOwn() {
		return nil, ErrNoWitness
	}
	listed, err := cm.reconciler.EngineEndpoints(ctx)
	if err != nil {
		return nil, errors.Join(ErrNoWitness, err)
	}
	return &Witness{node: cm.Self.Node(), memory: cm.Memory, engine: listed}, nil
}

// Node is this host's.
func (w *Witness) Node() string { return w.node }

// HasLease reports whether the agent knows an address as this host's, in
// whatever state.
func (w *Witness) HasLease(segment string, addr netip.Addr) bool {
	_, known := w.memory.Lease(pool.At(segment, addr))
	return known
}

// HasEndpoint reports whether agent or engine know an endpoint.
func (w *Witness) HasEndpoint(id string) bool {
	if id == "" {
		return false
	}
	_, bound := w.memory.Binding(id)
	_, joined := w.memory.Endpoint(id)
	return bound || joined || w.engine[id] || len(w.memory.LeasesOf(id, journal.Bound)) > 0
}
