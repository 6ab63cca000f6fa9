package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// RequestAddress gives an address, or reserves one. What a request means
// depends on where its pool is in its life:
//
//   - With Docker's gateway option, and with an explicit address in a pool
//     that no network was joined to yet (an aux address), it reserves; the
//     gateway without an address is the first usable one of the subnet, which
//     a subnet of one address keeps for a container.
//   - Else it leases: any free address of the network's ranges, or the
//     explicit one, anywhere in the pool.
//
// The prefix has the length of the subnet the address is in, which for a
// network of several subnets may be another one than the pool's.
func (a *Allocator) RequestAddress(ctx context.Context, r AddressRequest) (netip.Prefix, error) {
	a.awaitOpening(ctx)
	p, err := a.poolFor(r.PoolID)
	if err != nil {
		return netip.Prefix{}, err
	}
	subnet := p.parsed().Subnet
	gateway := r.Options[pool.RequestType] == pool.RequestGateway
	addr := pool.FirstUsable(subnet)
	if r.Address != "" {
		if addr, err = pool.ParseAddress(r.Address, subnet); err != nil {
			return netip.Prefix{}, err
		}
	}
	switch {
	case r.Address == "" && !gateway && p.byManager():
		return a.claimAny(ctx, p, r)
	case r.Address == "" && !gateway:
		return a.leaseAny(ctx, p, r)
	}
	switch {
	case gateway && r.Address == "" && subnet.IsSingleIP():
		// Docker insists on an answer, and the network on its one address.
	case gateway:
		err = a.reserveGateway(ctx, p, addr, r.Address != "")
	case p.byManager():
		return a.claimThis(ctx, p, addr)
	case p.joined() || forEndpoint(r.Options):
		return a.leaseThis(ctx, p, addr)
	default:
		err = a.reserveExtra(ctx, p, addr)
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, subnet.Bits()), nil
}

// forEndpoint tells that an endpoint asks, which engines from 29 on say.
func forEndpoint(options map[string]string) bool {
	return options[pool.EndpointName] != "" || options[pool.EndpointMAC] != ""
}

// poolFor returns the pool of an id. One that the journal does not know is
// rebuilt from the id alone, and joined to the network that waits for it.
func (a *Allocator) poolFor(id string) (opened, error) {
	if p, ok := a.ledger.pool(id); ok {
		return p, nil
	}
	parsed, err := pool.ParseID(id)
	if err != nil {
		return opened{}, err
	}
	p := a.rejoin(opened{ID: id}, parsed)
	if err := a.openPool(p); err != nil {
		return opened{}, err
	}
	p, _ = a.ledger.pool(id)
	return p, nil
}

// reserveGateway answers the gateway request of a network's create. After
// the create only the network's own gateway is still answered.
func (a *Allocator) reserveGateway(ctx context.Context, p opened, addr netip.Addr, asked bool) error {
	if p.joined() && p.Gateway == addr {
		return nil
	}
	if p.joined() {
		return fmt.Errorf("address %s cannot become the gateway of a network that exists", addr)
	}
	return a.reserve(ctx, p, addr, func(p *opened) { p.Gateway, p.Asked = addr, asked })
}

// reserveExtra reserves an aux address of a network that is being created.
// A second request for it is not Docker asking again (its retries come
// without a body) but somebody wanting one address twice.
func (a *Allocator) reserveExtra(ctx context.Context, p opened, addr netip.Addr) error {
	if slices.Contains(p.reserved(), addr) {
		return fmt.Errorf("address %s is already reserved for this network", addr)
	}
	return a.reserve(ctx, p, addr, func(p *opened) { p.Extra = append(slices.Clone(p.Extra), addr) })
}

// learn tells every mirror that covers a place what a transaction showed.
func (a *Allocator) learn(at pool.Place, taken bool, rev store.Revision) {
	for _, m := range a.mirrors.Covering(at) {
		m.Learn(at.Addr, taken, rev)
	}
}
