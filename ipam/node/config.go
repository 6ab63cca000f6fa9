package node

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/journal"
)

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
	if c.Listens == nil {
		c.Listens = func(string) bool { return false }
	}
	if c.Vendor == nil {
		c.Vendor = func(net.HardwareAddr) string { return "" }
	}
	if c.Routes == nil {
		c.Routes = func() ([]netip.Prefix, error) { return nil, nil }
	}
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
	// included) if it is provably dead: older than a minute, and no process in
	// its sandbox any more. Closed reports whether it did.
	CloseDead(ctx context.Context, endpoint string) (closed bool, err error)
	// Silence takes down the link of an endpoint whose address somebody else
	// has by right.
	Silence(endpoint string, addr netip.Addr) error
	// Withdraw takes a fixed address, which somebody else has by right, out of an
	// endpoint's sandbox; the endpoint waits for it again.
	Withdraw(endpoint string, addr netip.Addr) error
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
	Events    events.Teller // is told of addresses given and released, and of conflicts
	// Ask returns those of the addresses that answer on the LAN of one of the
	// engine's networks; an error means that nobody could be asked, or that
	// silence would prove nothing. Nil: nobody ever is.
	Ask func(ctx context.Context, network string, addrs []netip.Addr) (answering []netip.Addr, err error)
	// Answers asks on the LAN of one of the engine's networks who has these
	// addresses, and waits so long for answers; an error means that nobody could be
	// asked. A network without a LAN has none. Nil: no address is asked for before
	// it is given.
	Answers func(ctx context.Context, network string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error)
	// Listens reports whether this host hears who begins to use an address on the
	// LAN of one of the engine's networks; nil: it does not.
	Listens func(network string) bool
	// Vendor is who made a network card, "" where nobody knows; nil: nobody does.
	Vendor func(net.HardwareAddr) string
	// Routes returns the destinations of this host's routes; a default pool
	// overlaps none of them. Default routes are ignored.
	Routes func() ([]netip.Prefix, error)
	// DefaultPools are tried in order, by family. Where a family has none,
	// 172.18.0.0/16 to 172.31.0.0/16 is used, and for IPv6 the /64s of a
	// /48 below fd00::/8 that is drawn from the cluster's uuid.
	DefaultPools []DefaultPools
	// Grant makes an etcd lease of ttl seconds that nobody keeps alive: what
	// rests after a container hangs from one. Nil: nothing rests.
	Grant   func(ctx context.Context, ttl int64) (store.LeaseID, error)
	Now     func() time.Time
	Rand    io.Reader
	Log     *slog.Logger
	Timeout time.Duration // of etcd in one call, DefaultTimeout
}
