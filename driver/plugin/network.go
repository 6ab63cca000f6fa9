package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/docker/go-plugins-helpers/network"

	"gvlan/driver/option"
	"gvlan/ipam/pool"
)

// ErrNotSwarm refuses a network of the swarm on a socket plugin.
var ErrNotSwarm = errors.New("a socket plugin has no swarm networks: use the managed plugin gvlan-swarm:latest")

// Keys of CreateNetwork.Options (libnetwork netlabel).
const (
	KeyGeneric  = "com.docker.network.generic"
	KeyIPv4     = "com.docker.network.enable_ipv4" // engines from 28
	KeyIPv6     = "com.docker.network.enable_ipv6"
	KeyInternal = "com.docker.network.internal"
)

// capabilities is GetCapabilities' answer; GwAllocChecker is read by engines
// from 28.
type capabilities struct {
	Scope             string
	ConnectivityScope string
	GwAllocChecker    bool
}

// gwAllocCheck asks, before IPAM is called, whether the driver can do
// without gateway addresses (engines from 28).
type gwAllocCheck struct{ Options map[string]any }

type gwAllocAnswer struct{ SkipIPv4, SkipIPv6 bool }

type done struct{}

func (p *Plugin) routeNetwork() {
	fixed(p, "NetworkDriver.GetCapabilities", p.capabilities)
	handle(p, "NetworkDriver.GwAllocCheck", networkAnswers, p.gwAllocCheck)
	handle(p, "NetworkDriver.CreateNetwork", networkAnswers, p.createNetwork)
	handle(p, "NetworkDriver.DeleteNetwork", networkAnswers, p.deleteNetwork)
	handle(p, "NetworkDriver.AllocateNetwork", networkAnswers, p.allocateNetwork)
	handle(p, "NetworkDriver.FreeNetwork", networkAnswers, p.freeNetwork)
	handle(p, "NetworkDriver.CreateEndpoint", networkAnswers, p.createEndpoint)
	handle(p, "NetworkDriver.EndpointOperInfo", networkAnswers, p.endpointInfo)
	handle(p, "NetworkDriver.DeleteEndpoint", networkAnswers, p.deleteEndpoint)
	handle(p, "NetworkDriver.Join", networkAnswers, p.join)
	handle(p, "NetworkDriver.Leave", networkAnswers, p.leave)
	handle(p, "NetworkDriver.DiscoverNew", networkAnswers, p.discovered)
	handle(p, "NetworkDriver.DiscoverDelete", networkAnswers, p.discovered)
	missing(p, "NetworkDriver.ProgramExternalConnectivity")
	missing(p, "NetworkDriver.RevokeExternalConnectivity")
}

func (p *Plugin) capabilities() capabilities {
	scope := network.LocalScope
	if p.swarm {
		scope = network.GlobalScope
	}
	return capabilities{Scope: scope, ConnectivityScope: network.GlobalScope, GwAllocChecker: true}
}

// gwAllocCheck lets Docker skip the gateway where a network has none and its
// documents show none. It sees options only, never --gateway; Docker applies a
// skip only when no gateway was given.
func (p *Plugin) gwAllocCheck(_ context.Context, r gwAllocCheck) (gwAllocAnswer, error) {
	o, err := option.Parse(genericOptions(r.Options))
	if err != nil {
		return gwAllocAnswer{}, err
	}
	skip := !o.AsksGateway(flag(r.Options, KeyInternal, false))
	return gwAllocAnswer{SkipIPv4: skip, SkipIPv6: skip}, nil
}

func (p *Plugin) createNetwork(ctx context.Context, r network.CreateNetworkRequest) (done, error) {
	o, err := option.Parse(genericOptions(r.Options))
	if err != nil {
		return done{}, err
	}
	pools, err := poolData(slices.Concat(r.IPv4Data, r.IPv6Data))
	if err != nil {
		return done{}, err
	}
	return done{}, p.driver.CreateNetwork(ctx, NewNetwork{
		ID:       r.NetworkID,
		Options:  o,
		IPv4:     flag(r.Options, KeyIPv4, true),
		IPv6:     flag(r.Options, KeyIPv6, false),
		Internal: flag(r.Options, KeyInternal, false),
		Pools:    pools,
	})
}

func (p *Plugin) deleteNetwork(ctx context.Context, r network.DeleteNetworkRequest) (done, error) {
	return done{}, p.driver.DeleteNetwork(ctx, r.NetworkID)
}

func (p *Plugin) createEndpoint(ctx context.Context, r network.CreateEndpointRequest) (network.CreateEndpointResponse, error) {
	given := network.EndpointInterface{}
	if r.Interface != nil {
		given = *r.Interface
	}
	e := NewEndpoint{ID: r.EndpointID, Network: r.NetworkID, MAC: given.MacAddress}
	var err error
	if e.IPv4, err = prefixOrNone(given.Address); err != nil {
		return network.CreateEndpointResponse{}, err
	}
	if e.IPv6, err = prefixOrNone(given.AddressIPv6); err != nil {
		return network.CreateEndpointResponse{}, err
	}
	if e.Options, err = option.ParseEndpoint(r.Options, given.MacAddress); err != nil {
		return network.CreateEndpointResponse{}, err
	}
	e.MAC = cmp.Or(e.MAC, e.Options.MAC)
	e.Name = p.asked.take(e.IPv4.Addr().String(), e.IPv6.Addr().String())
	mac, err := p.driver.CreateEndpoint(ctx, e)
	if err != nil {
		return network.CreateEndpointResponse{}, err
	}
	if given.MacAddress == "" {
		mac = cmp.Or(mac, e.MAC) // Docker does not know what the driver-opt asks for
	}
	// Docker refuses an answer that repeats or changes what it sent.
	return network.CreateEndpointResponse{Interface: &network.EndpointInterface{MacAddress: mac}}, nil
}

func (p *Plugin) endpointInfo(_ context.Context, r network.InfoRequest) (network.InfoResponse, error) {
	return network.InfoResponse{Value: p.driver.EndpointInfo(r.EndpointID)}, nil
}

func (p *Plugin) deleteEndpoint(ctx context.Context, r network.DeleteEndpointRequest) (done, error) {
	return done{}, p.driver.DeleteEndpoint(ctx, r.EndpointID)
}

// joinAnswer is Join's with the name of the interface, which engines take from
// 29.8 on.
type joinAnswer struct {
	network.JoinResponse
	InterfaceName interfaceName
}

type interfaceName struct {
	SrcName   string
	DstName   string `json:",omitempty"`
	DstPrefix string
}

func (p *Plugin) join(ctx context.Context, r network.JoinRequest) (joinAnswer, error) {
	at, err := p.driver.Join(ctx, r.EndpointID, r.SandboxKey)
	if err != nil {
		return joinAnswer{}, err
	}
	res := joinAnswer{
		InterfaceName: interfaceName{SrcName: at.Link, DstName: at.Name, DstPrefix: cmp.Or(at.Prefix, "eth")},
		JoinResponse: network.JoinResponse{
			Gateway:     string(at.Gateway4.AppendTo(nil)),
			GatewayIPv6: string(at.Gateway6.AppendTo(nil)),
			// Without it Docker adds a second interface to docker_gwbridge
			// whenever a network has no gateway.
			DisableGatewayService: true,
		},
	}
	for _, to := range at.Connected {
		res.StaticRoutes = append(res.StaticRoutes, &network.StaticRoute{Destination: to.String(), RouteType: routeConnected})
	}
	for _, r := range at.Routes {
		route := network.StaticRoute{Destination: r.To.String(), RouteType: routeConnected}
		if r.Via.IsValid() {
			route.RouteType, route.NextHop = routeNextHop, r.Via.String()
		}
		res.StaticRoutes = append(res.StaticRoutes, &route)
	}
	return res, nil
}

// How a route leads on, libnetwork's types.NEXTHOP and CONNECTED: by a router,
// or by device.
const (
	routeNextHop   = 0
	routeConnected = 1
)

func (p *Plugin) leave(ctx context.Context, r network.LeaveRequest) (done, error) {
	return done{}, p.driver.Leave(ctx, r.EndpointID)
}

func (p *Plugin) discovered(context.Context, network.DiscoveryNotification) (done, error) {
	return done{}, nil
}

// genericOptions takes the -o options out of CreateNetwork's.
func genericOptions(all map[string]any) map[string]string {
	raw, _ := all[KeyGeneric].(map[string]any)
	options := make(map[string]string, len(raw))
	for k, v := range raw {
		options[k] = fmt.Sprint(v)
	}
	return options
}

func flag(all map[string]any, key string, otherwise bool) bool {
	if v, ok := all[key].(bool); ok {
		return v
	}
	return otherwise
}

// poolData reads CreateNetwork's IPAM data.
func poolData(all []*network.IPAMData) ([]pool.Data, error) {
	var pools []pool.Data
	for _, d := range all {
		one := pool.Data{Space: d.AddressSpace}
		var err error
		if one.Subnet, err = netip.ParsePrefix(d.Pool); err != nil {
			return nil, fmt.Errorf("read the pool of the network: %w", err)
		}
		one.Subnet = one.Subnet.Masked()
		gateway, err := prefixOrNone(d.Gateway)
		if err != nil {
			return nil, err
		}
		one.Gateway = gateway.Addr()
		if one.Aux, err = auxAddresses(d.AuxAddresses); err != nil {
			return nil, err
		}
		pools = append(pools, one)
	}
	return pools, nil
}

func auxAddresses(raw map[string]any) (map[string]netip.Addr, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	aux := make(map[string]netip.Addr, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		p, err := prefixOrNone(fmt.Sprint(raw[name]))
		if err != nil {
			return nil, fmt.Errorf("read aux address %s: %w", name, err)
		}
		aux[name] = p.Addr()
	}
	return aux, nil
}

// prefixOrNone reads "address/bits", or nothing as the zero Prefix.
func prefixOrNone(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("read address %q: %w", s, err)
	}
	return p, nil
}

// allocateNetwork is called on a swarm's leader only, after `docker network
// create` has returned: nobody hears why it is refused, but for the driver.
func (p *Plugin) allocateNetwork(ctx context.Context, r network.AllocateNetworkRequest) (network.AllocateNetworkResponse, error) {
	if !p.swarm {
		return network.AllocateNetworkResponse{}, ErrNotSwarm
	}
	answer, err := p.allocate(ctx, r)
	p.driver.Allocated(r.NetworkID, err)
	return answer, err
}

// allocate has the driver take the network. Whatever it answers is all a worker's
// CreateNetwork will get, so every option goes back.
func (p *Plugin) allocate(ctx context.Context, r network.AllocateNetworkRequest) (network.AllocateNetworkResponse, error) {
	o, err := option.Parse(r.Options)
	if err != nil {
		return network.AllocateNetworkResponse{}, err
	}
	data := make([]*network.IPAMData, 0, len(r.IPv4Data)+len(r.IPv6Data))
	for i := range r.IPv4Data {
		data = append(data, &r.IPv4Data[i])
	}
	for i := range r.IPv6Data {
		data = append(data, &r.IPv6Data[i])
	}
	pools, err := poolData(data)
	if err != nil {
		return network.AllocateNetworkResponse{}, err
	}
	if err := p.driver.AllocateNetwork(ctx, r.NetworkID, o, pools); err != nil {
		return network.AllocateNetworkResponse{}, err
	}
	return network.AllocateNetworkResponse{Options: r.Options}, nil
}

func (p *Plugin) freeNetwork(ctx context.Context, r network.FreeNetworkRequest) (done, error) {
	return done{}, p.driver.FreeNetwork(ctx, r.NetworkID)
}
