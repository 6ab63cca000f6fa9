package ipam

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
)

// PoolRequest is IpamDriver.RequestPool.
type PoolRequest struct {
	Space   string            // LocalSpace or GlobalSpace
	Pool    string            // --subnet, CIDR; "": a default pool
	SubPool string            // --ip-range, CIDR; "": none
	Options map[string]string // --ipam-opt
	V6      bool              // of the default pool; else the family is Pool's
}

// PoolReply is its answer.
type PoolReply struct {
	ID     string       // a PoolID, see ParsePoolID
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

// DefaultTimeout bounds one call of Docker's: its handler has 5 s, 4 of them
// for etcd.
const DefaultTimeout = 4 * time.Second

// Authority is this node's right to write, a *session.Session.
type Authority interface {
	Node() string            // this node's id
	Epoch() int64            // its epoch, 0 before the session opened
	Cluster() string         // the cluster's uuid, "" while unknown
	Opened() <-chan struct{} // closed once the session opened for the first time
	// Trusted is nil while new addresses may be given, else an error that
	// wraps store.ErrUnavailable, store.ErrFenced or store.ErrSuspect.
	Trusted() error
	// Cautious reports whether the cluster recovered a short while ago: the
	// LAN is asked before an address is given.
	Cautious() bool
}

// Endpoints is the driver's knowledge of this host's endpoints, asked when
// an address is wanted that one of them holds, and its hand on them.
type Endpoints interface {
	// CloseDead closes an endpoint (Unbind or Free of its addresses
	// included) if it is provably dead: older than a minute, its sandbox
	// gone and its link absent or back in the host's namespace. Closed says
	// whether it did.
	CloseDead(ctx context.Context, endpoint string) (closed bool, err error)
	// Silence takes down the link of an endpoint whose address somebody else
	// has by right.
	Silence(endpoint string, addr netip.Addr) error
	// Restored tells that an endpoint's record was made again as it was bound:
	// what was written into it since is missing.
	Restored(endpoint string)
}

// DefaultPools is a run of equal subnets that networks without a --subnet
// are given from.
type DefaultPools struct {
	First netip.Prefix // the first subnet given, 172.18.0.0/16
	Last  netip.Prefix // the last one, of the same length, 172.31.0.0/16
}

// Config is what an Allocator is built from. Log, Now, Rand, Timeout,
// DefaultPools and Routes have defaults.
type Config struct {
	KV        store.KV
	Self      Authority
	Memory    *journal.Memory // this host's
	Endpoints Endpoints
	// Ask returns those of the addresses that answer on the LAN of one of the
	// engine's networks; an error means that nobody could be asked, or that
	// silence would prove nothing. Nil: nobody ever is.
	Ask func(ctx context.Context, network string, addrs []netip.Addr) (answering []netip.Addr, err error)
	// Routes returns the destinations of this host's routes; a default pool
	// overlaps none of them. Default routes are ignored.
	Routes func() ([]netip.Prefix, error)
	// DefaultPools are tried in order, by family. Where a family has none,
	// 172.18.0.0/16 to 172.31.0.0/16 is used, and for IPv6 the /64s of a
	// /48 below fd00::/8 that is drawn from the cluster's uuid.
	DefaultPools []DefaultPools
	Now          func() time.Time
	Rand         io.Reader
	Log          *slog.Logger
	Timeout      time.Duration // of etcd in one call, DefaultTimeout
}
