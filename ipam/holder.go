package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// The sentences of this file name who has an address. What they say is read
// when they are needed: a lease holds no names.

// takenError refuses an address whose record another holder has.
func (a *Allocator) takenError(ctx context.Context, at pool.Place, rec store.Lease) error {
	switch {
	case rec.State == store.Reserved:
		return fmt.Errorf("address %s is %s", at.Addr, a.reservedFor(ctx, at.Addr, rec.By))
	case rec.State == store.Quarantined:
		return fmt.Errorf("address %s was in use a moment ago and rests: try again later", at.Addr)
	case rec.Node == "" && rec.Claims != nil:
		return fmt.Errorf("address %s is a service's or task's of the swarm%s", at.Addr, a.onNetwork(ctx, rec.Network))
	}
	return a.heldError(ctx, at, rec.Node, rec.Endpoint)
}

// heldError refuses an address that an endpoint of a node has.
func (a *Allocator) heldError(ctx context.Context, at pool.Place, node, endpoint string) error {
	return fmt.Errorf("address %s is %s", at.Addr, a.heldBy(ctx, node, endpoint))
}

// heldBy ends a sentence: "in use by container web on node h1 (network lan1)".
func (a *Allocator) heldBy(ctx context.Context, node, endpoint string) string {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	host := a.hostOf(ctx, node)
	if endpoint == "" {
		return fmt.Sprintf("being given to a container on node %s", host)
	}
	holder, on := "endpoint "+short(endpoint), ""
	if it, err := a.read(ctx, store.EndpointKey(node, endpoint)); err == nil && it.Created != 0 {
		if rec, err := store.Decode[store.Endpoint](it); err == nil {
			if rec.Container.Name != "" {
				holder = "container " + rec.Container.Name
			}
			if rec.Name != "" {
				on = fmt.Sprintf(" (network %s)", rec.Name)
			}
		}
	}
	return fmt.Sprintf("in use by %s on node %s%s", holder, host, on)
}

// onNetwork ends a sentence with the name of a definition, where it has one.
func (a *Allocator) onNetwork(ctx context.Context, uuid string) string {
	defs, err := a.definitions(ctx)
	if err != nil {
		return ""
	}
	for _, def := range defs {
		if def.UUID == uuid {
			return fmt.Sprintf(" (network %s)", def.Name)
		}
	}
	return ""
}

// definitions are those that can be read, for a sentence: it does not wait
// long for the store.
func (a *Allocator) definitions(ctx context.Context) (defs []store.Network, err error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	items, _, err := a.list(ctx, store.NetworksSpan())
	for _, it := range items {
		if def, err := store.Decode[store.Network](it); err == nil {
			defs = append(defs, def)
		}
	}
	return defs, err
}

// hostOf is the host name of a node, or its id.
func (a *Allocator) hostOf(ctx context.Context, node string) string {
	it, err := a.read(ctx, store.NodeKey(node))
	if err != nil || it.Created == 0 {
		return node
	}
	if rec, err := store.Decode[store.Node](it); err == nil && rec.Host != "" {
		return rec.Host
	}
	return node
}

// reservedFor ends a sentence: "the gateway of network lan1".
func (a *Allocator) reservedFor(ctx context.Context, addr netip.Addr, by []string) string {
	defs, err := a.definitions(ctx)
	if err != nil {
		return "reserved"
	}
	for _, def := range defs {
		if !slices.Contains(by, def.UUID) {
			continue
		}
		for _, p := range def.Created.Pools {
			if p.Subnet.Contains(addr) {
				return roleIn(p, addr) + "network " + def.Name
			}
		}
	}
	for _, name := range by {
		if p, ok := a.poolBy(name); ok && p.joined() {
			n, _ := a.ledger.network(p.Network)
			return roleIn(p.record(), addr) + n.title()
		}
	}
	return "reserved for a network that is being created"
}

// poolBy finds the pool of this node that a reservation's entry means.
func (a *Allocator) poolBy(entry string) (opened, bool) {
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.by(a.Self.Node()) == entry }) {
		return p, true
	}
	return opened{}, false
}

// roleIn begins what a reserved address is: "the gateway of ".
func roleIn(p store.Pool, addr netip.Addr) string {
	if p.Gateway == addr {
		return "the gateway of "
	}
	for name, aux := range p.Aux {
		if aux == addr {
			return fmt.Sprintf("the auxiliary address %s of ", strings.TrimSpace(name))
		}
	}
	return "reserved for "
}
