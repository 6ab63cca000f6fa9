package ipam

import (
	"net/netip"

	"gvlan/cluster/store"
)

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
