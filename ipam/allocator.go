package ipam

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/conflict"
	"gvlan/ipam/fixed"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
	"gvlan/ipam/probe"
	"gvlan/ipam/reserve"
	"gvlan/ipam/wanted"
)

// Allocator gives this node's containers addresses. Its methods may be
// called from any number of goroutines; those of different addresses do not
// wait for each other.
//
// Docker's calls: RequestPool, ReleasePool, RequestAddress, ReleaseAddress.
//
// The driver's, on networks: Attach, Adopt, Detach, Joined, ReserveFor and
// UnreserveFor (steps of the transaction that writes a definition); on
// endpoints: Bind, Describe, Unbind, Free, Bound, CheckFixed,
// CheckUnused and Fixed; on what a swarm's manager holds:
// ManagerClaims, DropManagerClaim, EndManagerClaims.
//
// What it is told: KeepOut (hosts' own addresses), Avoid (what stopped
// containers want again), ApplyEndpoints (all endpoints' records).
//
// What it tells: Provisional and Leftovers (holdings that nothing confirms,
// with FreeProvisional and DropLeftover), Conflicts, Pending, Reassert,
// KnowsItsOwn, NetworkOf, Holder, and for metrics Usage and Counts.
type Allocator struct {
	node *node.Node // by name: what its parts do with the store is no call of others
	*holders
	*claims
	*leases
	*reservations
	*pools
	*bindings
	*debts
	*kept
	*requests
	*upkeep
	conflicts *conflict.Conflicts
	prober    *probe.Prober
}

// New reads nothing from the store: the first call does, or Run.
func New(c node.Config) *Allocator {
	a := &Allocator{node: node.New(c)}
	a.holders = &holders{Node: a.node, hosts: &hosts{set: &addrset.Set{}}}
	ends := &closings{Node: a.node}
	a.kept = &kept{Node: a.node, book: &reserve.Book{}, late: &wanted.Book{}}
	a.claims = &claims{Node: a.node, holders: a.holders, closings: ends}
	a.leases = &leases{Node: a.node, holders: a.holders, claims: a.claims, closings: ends, coolings: &coolings{Node: a.node, buckets: map[time.Duration]cooling{}}, kept: a.kept}
	a.reservations = &reservations{Node: a.node, holders: a.holders}
	a.pools = &pools{Node: a.node, reservations: a.reservations}
	a.bindings = &bindings{Node: a.node, holders: a.holders, leases: a.leases, closings: ends, macs: newMACs(), awaited: newAwaited()}
	a.debts = &debts{Node: a.node, leases: a.leases, bindings: a.bindings, pools: a.pools}
	a.requests = &requests{
		Node: a.node, holders: a.holders, claims: a.claims, leases: a.leases,
		reservations: a.reservations, pools: a.pools, debts: a.debts,
		kept: a.kept, lists: census.New(c.KV, a.node.Mirrors, a.node.Now),
	}
	a.conflicts = conflict.New(conflict.Config{
		KV: c.KV, Node: c.Self.Node(), Pool: a.requests.lan().poolOnLAN, Answers: c.Answers, Vendor: a.node.Vendor, Holder: a.bindings.holderOf, Own: a.bindings.ownMAC, Events: c.Events, Draws: a.node.Mirrors.Draws(), Now: a.node.Now, Log: a.node.Log,
	})
	a.prober = probe.New(probe.Config{
		KV: c.KV, Conflicts: a.conflicts, Answers: c.Answers, Listens: a.node.Listens, Networks: a.requests.lan().poolsOnLAN, Next: a.requests.lan().next, Name: a.requests.lan().nameOf,
		Own: a.bindings.ownMAC, Troubles: a.node.Troubles, Now: a.node.Now, Log: a.node.Log,
	})
	a.requests.prober, a.pools.want, a.bindings.given, a.leases.silent = a.prober, a.prober.Want, a.prober.Given, a.prober.Left
	a.upkeep = &upkeep{
		Node: a.node, leases: a.leases, reservations: a.reservations, pools: a.pools,
		bindings: a.bindings, debts: a.debts, strays: newStrays(), kept: a.kept,
	}
	return a
}

// Failing is what fails with the store and on the LAN, and is tried again.
func (a *Allocator) Failing() *trouble.Book { return a.node.Troubles }

// Probe asks the LAN for addresses ahead, and for those in conflict again, until
// ctx ends.
func (a *Allocator) Probe(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.prober.Run(ctx) })
	group.Go(func() error { return a.conflicts.Run(ctx) })
	return group.Wait()
}

// OnLAN are the subnets of this host's networks that the LAN is asked for, by the
// engine's id.
func (a *Allocator) OnLAN() map[string][]netip.Prefix {
	all := map[string][]netip.Prefix{}
	if !a.prober.Asks() {
		return all
	}
	for _, of := range a.requests.lan().poolsOnLAN() {
		all[of.ID] = of.Subnets
	}
	return all
}

// Heard tells that somebody on the LAN of one of this host's networks, by the
// engine's id, uses an address.
func (a *Allocator) Heard(network string, addr netip.Addr, mac net.HardwareAddr) {
	p := a.node.Memory.Pools(func(p journal.Pool) bool {
		return p.Network == network && !p.Closed && p.Parsed.Subnet.Contains(addr)
	})
	if len(p) == 0 {
		return
	}
	at := pool.At(p[0].Parsed.Segment, addr)
	switch taken := a.conflicts.Heard(at, mac); {
	case !a.prober.Fresh(network, at) || a.bindings.ownMAC(at, mac) != "":
	case taken:
		a.prober.Doubt(at)
	default:
		a.prober.Heard(network, probe.Answer{At: at, MAC: mac})
	}
}

// Foreign are the free addresses that somebody on the LAN has who is none of the
// cluster's.
func (a *Allocator) Foreign() *conflict.Conflicts { return a.conflicts }

// Prober asks the LANs of this host's networks.
func (a *Allocator) Prober() *probe.Prober { return a.prober }

// Fixed takes addresses for endpoints besides those that they were given.
func (a *Allocator) Fixed() fixed.Claims { return fixed.Claims{Node: a.node} }

// PoolRequest is IpamDriver.RequestPool.
type PoolRequest struct {
	Space   string            // pool.LocalSpace or pool.GlobalSpace
	Pool    string            // --subnet, CIDR; "": a default pool
	SubPool string            // --ip-range, CIDR; "": none
	Options map[string]string // --ipam-opt
	V6      bool              // of the default pool; else the family is Pool's
}

// PoolReply is its answer.
type PoolReply struct {
	ID     string       // a PoolID, which pool.ParseID reads
	Subnet netip.Prefix // masked
	Data   map[string]string
}

// AddressRequest is IpamDriver.RequestAddress.
type AddressRequest struct {
	PoolID  string
	Address string // "": any
	Options map[string]string
	// Newcomers reports whether a container that never ran may be the one that
	// asks on that network of the engine's; nil: one may.
	Newcomers func(network string) bool
	// Idle are the containers of the host that do not run and may be the one that asks
	// on that network of the engine's; looked is false while they are not known, and
	// news is closed at the next change. Nil: nobody knows.
	Idle func(network string) (names []string, looked bool, news <-chan struct{})
}

// Binding ties addresses that were given to the endpoint that has them.
type Binding struct {
	Network   string // the engine's network id
	Endpoint  string // the engine's endpoint id
	Addresses []netip.Addr
	Record    store.Endpoint // written in the same transaction
}

// HeldKind says what a Held is.
type HeldKind uint8

const (
	// HeldAddress is an address that was given and that no endpoint has: it
	// was never bound, or its endpoint was deleted and no release came.
	HeldAddress HeldKind = iota
	// HeldPool is a pool that no CreateNetwork joined to a network, with
	// the gateway, aux addresses and default subnet reserved for it. A pool
	// of another driver's network stays so for life.
	HeldPool
	// HeldStray is a reservation of this node for a pool that its journal
	// does not know: the journal was lost.
	HeldStray
)

// Held is something this node holds in the store that nothing confirmed.
// Values compare equal exactly while they mean the same holding.
type Held struct {
	Kind     HeldKind
	Segment  string
	Address  netip.Addr   // HeldAddress, HeldStray
	Subnet   netip.Prefix // HeldPool; HeldStray of a default subnet
	Network  string       // engine's network id, "" while unknown
	Endpoint string       // HeldAddress: the endpoint that was deleted, or ""
	Nonce    string       // of the lease or pool
}
