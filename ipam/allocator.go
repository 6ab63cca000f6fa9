package ipam

import (
	"crypto/rand"
	"log/slog"
	"net/netip"
	"time"

	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
)

// Allocator gives this node's containers addresses. Its methods may be
// called from any number of goroutines; those of different addresses do not
// wait for each other.
//
// Docker's calls: RequestPool, ReleasePool, RequestAddress, ReleaseAddress.
//
// The driver's, on networks: Attach, Adopt, Detach, Pools, Joined, ReserveFor
// and UnreserveFor (steps of the transaction that writes a definition); on
// endpoints: Bind, Unbind, Free, Bound; on what a swarm's manager holds:
// ManagerClaims, DropManagerClaim, EndManagerClaims.
//
// What it is told: KeepOut (hosts' own addresses), Avoid (what stopped
// containers want again), ApplyEndpoints (all endpoints' records).
//
// What it tells: Provisional and Leftovers (holdings that nothing confirms,
// with FreeProvisional and DropLeftover), Conflicts, Pending, Reassert.
type Allocator struct {
	*node
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
func New(c Config) *Allocator {
	c.fill()
	a := &Allocator{node: &node{Config: c, places: newPlaces(c.Memory), mirrors: mirror.NewMirrors(c.Now), kick: make(chan struct{}, 1)}}
	a.holders = &holders{node: a.node, hosts: &hosts{set: &addrset.Set{}}}
	a.claims = &claims{node: a.node, holders: a.holders}
	a.leases = &leases{node: a.node, holders: a.holders, claims: a.claims}
	a.reservations = &reservations{node: a.node, holders: a.holders}
	a.pools = &pools{node: a.node, reservations: a.reservations}
	a.bindings = &bindings{node: a.node, holders: a.holders, leases: a.leases, macs: newMACs()}
	a.debts = &debts{node: a.node, leases: a.leases, bindings: a.bindings, pools: a.pools}
	a.requests = &requests{
		node: a.node, holders: a.holders, claims: a.claims, leases: a.leases,
		reservations: a.reservations, pools: a.pools, debts: a.debts,
	}
	a.upkeep = &upkeep{
		node: a.node, leases: a.leases, reservations: a.reservations, pools: a.pools,
		bindings: a.bindings, debts: a.debts, strays: newStrays(),
	}
	return a
}

func (c *Config) fill() {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Routes == nil {
		c.Routes = func() ([]netip.Prefix, error) { return nil, nil }
	}
}
