package driver

import (
	"net/netip"

	"gvlan/cluster/store"
)

// hasGateway is the one gateway rule on every engine: a
// network that switches and has a parent has a gateway; one that routes
// (L3), is internal, has no parent or says -o gateway=none has none.
func hasGateway(n hostNetwork) bool {
	return !n.Options.Layer3() && !n.isolated() && !n.Options.NoGateway
}

// asksGateway reports whether Docker shall ask for an address where it may leave
// it out: for a network with a gateway, and for a routed one, whose first
// container then has the second address on every engine, as Docker's documents
// show; engines before 28 always ask.
func asksGateway(n hostNetwork) bool {
	return hasGateway(n) || n.Options.Layer3() && !n.isolated() && !n.Options.NoGateway
}

// settleGateway says which gateway a pool of the network really has. Engines
// before 28 insist on an address also where there is none; the pool then
// keeps it as a reservation and nobody is told to route there.
func settleGateway(n hostNetwork, pool store.Pool) store.Pool {
	if pool.Asked || hasGateway(n) {
		return pool
	}
	pool.Gateway = netip.Addr{}
	return pool
}

// gatewayFor is the default gateway of an endpoint's address, or the zero
// Addr.
func gatewayFor(n hostNetwork, addr netip.Prefix) netip.Addr {
	if !addr.IsValid() || !hasGateway(n) {
		return netip.Addr{}
	}
	for _, pool := range n.Pools {
		if pool.Subnet.Bits() == addr.Bits() && pool.Subnet.Contains(addr.Addr()) {
			return pool.Gateway
		}
	}
	return netip.Addr{}
}
