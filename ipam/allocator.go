package ipam

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"gvlan/cluster/store"
)

// Allocator gives this node's containers addresses.
type Allocator struct{ Config }

var errSkeleton = errors.New("not written yet")

// New loads the journal. Nothing is read from the store before Run.
func New(c Config) (*Allocator, error) { return &Allocator{c}, nil }

// Run keeps mirrors of open pools and drains what the journal owes the store, until ctx ends.
func (a *Allocator) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// RequestPool opens a view on a subnet.
func (a *Allocator) RequestPool(ctx context.Context, r PoolRequest) (PoolReply, error) {
	return PoolReply{}, errSkeleton
}

// ReleasePool forgets a pool.
func (a *Allocator) ReleasePool(ctx context.Context, id string) error { return nil }

// RequestAddress gives or reserves an address.
func (a *Allocator) RequestAddress(ctx context.Context, r AddressRequest) (netip.Prefix, error) {
	return netip.Prefix{}, errSkeleton
}

// ReleaseAddress takes an address back.
func (a *Allocator) ReleaseAddress(ctx context.Context, poolID, address string) error { return nil }

// Attach joins the oldest matching pools to a network (CreateNetwork).
func (a *Allocator) Attach(network string, pools []PoolData) error { return errSkeleton }

// Pools returns what the pools joined to a network say; false when it has none.
func (a *Allocator) Pools(network string) (Addressing, bool) { return Addressing{}, false }

// Adopt tells that a network has a definition now, or that it changed; at is the
// revision the definition was last modified at, 0 when unknown.
func (a *Allocator) Adopt(network string, definition store.Network, at store.Revision) error {
	return nil
}

// Avoid sets the addresses of a network that are given last: those of stopped
// containers that will ask for them again.
func (a *Allocator) Avoid(network string, addresses []netip.Addr) {}

// Detach forgets a network and its pools (DeleteNetwork).
func (a *Allocator) Detach(network string) error { return nil }

// Bind is the commit point of an endpoint (CreateEndpoint).
func (a *Allocator) Bind(ctx context.Context, b Binding) error { return errSkeleton }

// Unbind tells that an endpoint is gone (DeleteEndpoint): the releases that follow count.
func (a *Allocator) Unbind(ctx context.Context, endpoint string) error { return nil }

// Free releases everything a dead endpoint has.
func (a *Allocator) Free(ctx context.Context, endpoint string) error { return nil }

// Bound returns the addresses of every endpoint of this node, by endpoint id.
func (a *Allocator) Bound() map[string][]netip.Addr { return nil }

// Provisional returns what this node holds and nothing confirmed.
func (a *Allocator) Provisional(ctx context.Context) ([]Held, error) { return nil, nil }

// FreeProvisional gives up one of them, if it still is what it was.
func (a *Allocator) FreeProvisional(ctx context.Context, h Held) error { return nil }

// ReserveFor returns what must go into the transaction that commits a
// definition: its uuid is added to every reservation of the network.
func (a *Allocator) ReserveFor(ctx context.Context, uuid, network string) ([]store.Cond, []store.Op, error) {
	return nil, nil, errSkeleton
}

// UnreserveFor returns what must go into the transaction that deletes a definition.
func (a *Allocator) UnreserveFor(ctx context.Context, n store.Network) ([]store.Cond, []store.Op, error) {
	return nil, nil, errSkeleton
}

// Reassert writes every live lease of this node again where it is absent.
func (a *Allocator) Reassert(ctx context.Context) ([]Conflict, error) { return nil, errSkeleton }

// MAC returns the address's hardware address: 02 and 40 bits of a hash.
func MAC(cluster, segment string, addr netip.Addr) net.HardwareAddr { return nil }
