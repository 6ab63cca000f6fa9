package plugin

import (
	"context"
	"strings"
	"sync"

	dockeripam "github.com/docker/go-plugins-helpers/ipam"

	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// KeyEndpointName is the endpoint's name, which is the container's, in
// RequestAddress of engines from 29.
const KeyEndpointName = "com.docker.network.endpoint.name"

// ipamCapabilities says that addresses need no MAC (a MAC breaks ipvlan) and
// that nothing has to be replayed after a restart: etcd remembers.
type ipamCapabilities struct {
	RequiresMACAddress    bool
	RequiresRequestReplay bool
}

func (p *Plugin) routeIPAM() {
	fixed(p, "IpamDriver.GetCapabilities", func() ipamCapabilities { return ipamCapabilities{} })
	fixed(p, "IpamDriver.GetDefaultAddressSpaces", p.addressSpaces)
	handle(p, "IpamDriver.RequestPool", ipamAnswers, p.requestPool)
	handle(p, "IpamDriver.ReleasePool", ipamAnswers, p.releasePool)
	handle(p, "IpamDriver.RequestAddress", ipamAnswers, p.requestAddress)
	handle(p, "IpamDriver.ReleaseAddress", ipamAnswers, p.releaseAddress)
}

func (p *Plugin) addressSpaces() dockeripam.AddressSpacesResponse {
	return dockeripam.AddressSpacesResponse{LocalDefaultAddressSpace: pool.LocalSpace, GlobalDefaultAddressSpace: pool.GlobalSpace}
}

func (p *Plugin) requestPool(ctx context.Context, r dockeripam.RequestPoolRequest) (dockeripam.RequestPoolResponse, error) {
	opened, err := p.addresses.RequestPool(ctx, ipam.PoolRequest{
		Space: r.AddressSpace, Pool: r.Pool, SubPool: r.SubPool, Options: r.Options, V6: r.V6,
	})
	if err != nil {
		return dockeripam.RequestPoolResponse{}, err
	}
	return dockeripam.RequestPoolResponse{PoolID: opened.ID, Pool: opened.Subnet.String(), Data: opened.Data}, nil
}

func (p *Plugin) releasePool(ctx context.Context, r dockeripam.ReleasePoolRequest) (done, error) {
	return done{}, p.addresses.ReleasePool(ctx, r.PoolID)
}

func (p *Plugin) requestAddress(ctx context.Context, r dockeripam.RequestAddressRequest) (dockeripam.RequestAddressResponse, error) {
	addr, err := p.addresses.RequestAddress(ctx, ipam.AddressRequest{
		PoolID: r.PoolID, Address: r.Address, Options: r.Options, Newcomers: p.driver.Newcomers, Idle: p.driver.Idle,
	})
	if err != nil {
		return dockeripam.RequestAddressResponse{}, err
	}
	p.asked.note(addr.Addr().String(), r.Options[KeyEndpointName])
	return dockeripam.RequestAddressResponse{Address: addr.String()}, nil
}

func (p *Plugin) releaseAddress(ctx context.Context, r dockeripam.ReleaseAddressRequest) (done, error) {
	p.asked.take(r.Address)
	return done{}, p.addresses.ReleaseAddress(ctx, r.PoolID, r.Address)
}

// askedFor remembers whom an address was asked for, from the request for it
// to the endpoint that has it: engines from 29 name the endpoint in the
// request, which is the only name a handler is ever told.
type askedFor struct {
	mu    sync.Mutex
	names map[string]string // by address
}

// note remembers a name; an empty one is none.
func (a *askedFor) note(address, name string) {
	if name == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.names == nil {
		a.names = map[string]string{}
	}
	a.names[address] = name
}

// of is the name of the first of the prefixes whose address has one.
func (a *askedFor) of(prefixes ...string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, prefix := range prefixes {
		address, _, _ := strings.Cut(prefix, "/")
		if name := a.names[address]; name != "" {
			return name
		}
	}
	return ""
}

// take forgets and returns the name of the first address that has one.
func (a *askedFor) take(addresses ...string) (name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, address := range addresses {
		if name == "" {
			name = a.names[address]
		}
		delete(a.names, address)
	}
	return name
}
