package driver

import (
	dockeripam "github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"

	"gvlan/driver/visible"
)

// subject lists what a request is about: network, endpoint, pool, address.
func subject(req any) []any {
	switch r := req.(type) {
	case network.CreateNetworkRequest:
		return []any{"network", visible.ID(r.NetworkID)}
	case network.DeleteNetworkRequest:
		return []any{"network", visible.ID(r.NetworkID)}
	case network.AllocateNetworkRequest:
		return []any{"network", visible.ID(r.NetworkID)}
	case network.FreeNetworkRequest:
		return []any{"network", visible.ID(r.NetworkID)}
	case network.CreateEndpointRequest:
		attrs := about(r.NetworkID, r.EndpointID)
		if r.Interface != nil {
			attrs = append(attrs, given("address", r.Interface.Address)...)
			attrs = append(attrs, given("address6", r.Interface.AddressIPv6)...)
		}
		return attrs
	case network.InfoRequest:
		return about(r.NetworkID, r.EndpointID)
	case network.DeleteEndpointRequest:
		return about(r.NetworkID, r.EndpointID)
	case network.JoinRequest:
		return append(about(r.NetworkID, r.EndpointID), "sandbox", r.SandboxKey)
	case network.LeaveRequest:
		return about(r.NetworkID, r.EndpointID)
	}
	return ipamSubject(req)
}

func ipamSubject(req any) []any {
	switch r := req.(type) {
	case dockeripam.RequestPoolRequest:
		return append(given("subnet", r.Pool), given("range", r.SubPool)...)
	case dockeripam.ReleasePoolRequest:
		return []any{"pool", r.PoolID}
	case dockeripam.RequestAddressRequest:
		return append([]any{"pool", r.PoolID}, given("asked", r.Address)...)
	case dockeripam.ReleaseAddressRequest:
		return []any{"pool", r.PoolID, "address", r.Address}
	}
	return nil
}

// outcome lists what an answer gave.
func outcome(res any) []any {
	switch r := res.(type) {
	case dockeripam.RequestPoolResponse:
		return given("pool", r.PoolID)
	case dockeripam.RequestAddressResponse:
		return given("address", r.Address)
	case network.CreateEndpointResponse:
		if r.Interface != nil {
			return given("mac", r.Interface.MacAddress)
		}
	case network.JoinResponse:
		return append(given("link", r.InterfaceName.SrcName), given("gateway", r.Gateway)...)
	}
	return nil
}

func about(networkID, endpointID string) []any {
	return []any{"network", visible.ID(networkID), "endpoint", visible.ID(endpointID)}
}

// given is an attribute, or nothing when the value is empty.
func given(key, value string) []any {
	if value == "" {
		return nil
	}
	return []any{key, value}
}
