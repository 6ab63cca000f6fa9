package ipam

import (
	"time"

	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/node"
)

// Allocator gives this node's containers addresses. Its methods may be
// called from any number of goroutines; those of different addresses do not
// wait for each other.
//
// Docker's calls: RequestPool, ReleasePool, RequestAddress, ReleaseAddress.
//
// The driver's, on networks: Attach, Adopt, Detach, Joined, ReserveFor and
// UnreserveFor (steps of the transaction that writes a definition); on
// endpoints: Bind, Describe, Unbind, Free, Bound; on what a swarm's manager holds:
// ManagerClaims, DropManagerClaim, EndManagerClaims.
//
// What it is told: KeepOut (hosts' own addresses), Avoid (what stopped
// containers want again), ApplyEndpoints (all endpoints' records).
//
// What it tells: Provisional and Leftovers (holdings that nothing confirms,
// with FreeProvisional and DropLeftover), Conflicts, Pending, Reassert.
type Allocator struct {
	node *node.Node // by name: what its parts do with the store is no call of others
	*holders
	*claims
	*leases
	*reservations
	*pools
	*bindings
	*debts
	*requests
	*upkeep
}

// New reads nothing from the store: the first call does, or Run.
func New(c node.Config) *Allocator {
	a := &Allocator{node: node.New(c)}
	a.holders = &holders{Node: a.node, hosts: &hosts{set: &addrset.Set{}}}
	ends := &closings{Node: a.node}
	a.claims = &claims{Node: a.node, holders: a.holders, closings: ends}
	a.leases = &leases{Node: a.node, holders: a.holders, claims: a.claims, closings: ends, coolings: &coolings{Node: a.node, buckets: map[time.Duration]cooling{}}}
	a.reservations = &reservations{Node: a.node, holders: a.holders}
	a.pools = &pools{Node: a.node, reservations: a.reservations}
	a.bindings = &bindings{Node: a.node, holders: a.holders, leases: a.leases, closings: ends, macs: newMACs(), awaited: newAwaited()}
	a.debts = &debts{Node: a.node, leases: a.leases, bindings: a.bindings, pools: a.pools}
	a.requests = &requests{
		Node: a.node, holders: a.holders, claims: a.claims, leases: a.leases,
		reservations: a.reservations, pools: a.pools, debts: a.debts,
		lists: census.New(c.KV, a.node.Mirrors, a.node.Now),
	}
	a.upkeep = &upkeep{
		Node: a.node, leases: a.leases, reservations: a.reservations, pools: a.pools,
		bindings: a.bindings, debts: a.debts, strays: newStrays(),
	}
	return a
}
