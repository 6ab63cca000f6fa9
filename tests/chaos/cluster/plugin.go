package cluster

import (
	"context"
	"net/netip"
	"time"

	"gvlan/tests/plugin"
)

const localSpace = "gvlan-local"

// Plugin speaks to an agent as dockerd does.
type Plugin struct{ client *plugin.Client }

func newPlugin(socket string) *Plugin { return &Plugin{plugin.New(socket, 16)} }

// patience is when a call counts as unanswered: dockerd would wait on, and its
// user would not.
const patience = 8 * time.Second

func (p *Plugin) call(ctx context.Context, method string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.client.Call(ctx, method, body, into)
}

// RequestPool opens a pool.
func (p *Plugin) RequestPool(ctx context.Context, subnet, within string, options map[string]string) (id, got string, err error) {
	var given struct{ PoolID, Pool string }
	err = p.call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": localSpace, "Pool": subnet, "SubPool": within, "Options": options}, &given)
	return given.PoolID, given.Pool, err
}

// OpenPool opens a pool of a space, as a swarm's manager does.
func (p *Plugin) OpenPool(ctx context.Context, space, subnet string) (id, got string, err error) {
	var given struct{ PoolID, Pool string }
	err = p.call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": space, "Pool": subnet}, &given)
	return given.PoolID, given.Pool, err
}

// ReleasePool closes it.
func (p *Plugin) ReleasePool(ctx context.Context, id string) error {
	return p.call(ctx, "IpamDriver.ReleasePool", map[string]any{"PoolID": id}, nil)
}

// RequestAddress asks for an address, "" for any, and returns it with its
// length.
func (p *Plugin) RequestAddress(ctx context.Context, pool, address string, options map[string]string) (string, error) {
	var given struct{ Address string }
	err := p.call(ctx, "IpamDriver.RequestAddress", map[string]any{"PoolID": pool, "Address": address, "Options": options}, &given)
	return given.Address, err
}

// ReleaseAddress gives it back.
func (p *Plugin) ReleaseAddress(ctx context.Context, pool, address string) error {
	return p.call(ctx, "IpamDriver.ReleaseAddress", map[string]any{"PoolID": pool, "Address": address}, nil)
}

// CreateEndpoint has an address belong to an endpoint.
func (p *Plugin) CreateEndpoint(ctx context.Context, network, endpoint string, at netip.Prefix) (mac string, err error) {
	var made struct{ Interface struct{ MacAddress string } }
	err = p.call(ctx, "NetworkDriver.CreateEndpoint", map[string]any{
		"NetworkID": network, "EndpointID": endpoint, "Interface": map[string]string{"Address": at.String()}, "Options": map[string]any{},
	}, &made)
	return made.Interface.MacAddress, err
}

// DeleteEndpoint ends that.
func (p *Plugin) DeleteEndpoint(ctx context.Context, network, endpoint string) error {
	return p.call(ctx, "NetworkDriver.DeleteEndpoint", map[string]any{"NetworkID": network, "EndpointID": endpoint}, nil)
}

// Join puts the endpoint into a container's namespace.
func (p *Plugin) Join(ctx context.Context, network, endpoint, sandbox string) error {
	return p.call(ctx, "NetworkDriver.Join", map[string]any{"NetworkID": network, "EndpointID": endpoint, "SandboxKey": sandbox, "Options": map[string]any{}}, nil)
}

// Leave takes it out again.
func (p *Plugin) Leave(ctx context.Context, network, endpoint string) error {
	return p.call(ctx, "NetworkDriver.Leave", map[string]any{"NetworkID": network, "EndpointID": endpoint}, nil)
}
