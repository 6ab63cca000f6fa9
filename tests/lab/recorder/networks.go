package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// networks is the network driver: one macvlan link per endpoint.
type networks struct {
	scope, parent string
	links         *netlink.Handle
	known         map[string]network      // by id
	given         map[string][]netip.Addr // addresses of endpoints, by id
}

// network is what Join needs to know.
type network struct {
	parent   string
	gateways []netip.Prefix // as "192.168.1.254/24", one for each subnet that has one
}

// gateway gives the gateway on the subnet of an address, or nothing.
func (n network) gateway(of netip.Addr) string {
	for _, g := range n.gateways {
		if g.Contains(of) {
			return g.Addr().String()
		}
	}
	return ""
}

func newNetworks(scope, parent string) (*networks, error) {
	links, err := netlink.NewHandle()
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &networks{scope: scope, parent: parent, links: links, known: map[string]network{}, given: map[string][]netip.Addr{}}, nil
}

func (n *networks) calls() map[string]call {
	done := func([]byte) (any, error) { return struct{}{}, nil }
	return map[string]call{
		"GetCapabilities": func([]byte) (any, error) {
			return map[string]any{"Scope": n.scope, "ConnectivityScope": "global", "GwAllocChecker": true}, nil
		},
		"GwAllocCheck": func([]byte) (any, error) {
			return map[string]bool{"SkipIPv4": false, "SkipIPv6": false}, nil
		},
		"AllocateNetwork": func([]byte) (any, error) { return map[string]any{"Options": map[string]string{}}, nil },
		"FreeNetwork":     done,
		"CreateNetwork":   n.createNetwork,
		"DeleteNetwork":   done,
		"CreateEndpoint":  n.createEndpoint,
		"EndpointOperInfo": func([]byte) (any, error) {
			return map[string]any{"Value": map[string]string{}}, nil
		},
		"DeleteEndpoint":              n.deleteEndpoint,
		"Join":                        n.join,
		"Leave":                       done,
		"ProgramExternalConnectivity": done,
		"RevokeExternalConnectivity":  done,
		"DiscoverNew":                 done,
		"DiscoverDelete":              done,
	}
}

func (n *networks) createNetwork(body []byte) (any, error) {
	type ipamData struct{ Gateway string }
	var req struct {
		NetworkID          string
		Options            map[string]any
		IPv4Data, IPv6Data []ipamData
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	made := network{parent: n.parent}
	if generic, ok := req.Options["com.docker.network.generic"].(map[string]any); ok {
		if parent, ok := generic["parent"].(string); ok {
			made.parent = parent
		}
	}
	for _, d := range append(req.IPv4Data, req.IPv6Data...) {
		if gateway, err := netip.ParsePrefix(d.Gateway); err == nil {
			made.gateways = append(made.gateways, gateway)
		}
	}
	n.known[req.NetworkID] = made
	return struct{}{}, nil
}

type endpointRequest struct {
	NetworkID, EndpointID string
	Interface             struct{ Address, AddressIPv6, MacAddress string }
}

func (n *networks) createEndpoint(body []byte) (any, error) {
	var req endpointRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	for _, cidr := range []string{req.Interface.Address, req.Interface.AddressIPv6} {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			n.given[req.EndpointID] = append(n.given[req.EndpointID], p.Addr())
		}
	}
	given := map[string]string{}
	if req.Interface.MacAddress == "" {
		given["MacAddress"] = mac(req.EndpointID).String()
	}
	return map[string]any{"Interface": given}, nil
}

func mac(endpoint string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(endpoint))
	return append(net.HardwareAddr{2}, sum[:5]...)
}

func linkName(endpoint string) string { return "rec" + endpoint[:min(len(endpoint), 10)] }

func (n *networks) join(body []byte) (any, error) {
	var req endpointRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	known, ok := n.known[req.NetworkID]
	if !ok {
		known.parent = n.parent
	}
	parent, err := n.links.LinkByName(known.parent)
	if err != nil {
		return nil, fmt.Errorf("find parent %s: %w", known.parent, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = linkName(req.EndpointID), parent.Attrs().Index
	if err := n.links.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		return nil, fmt.Errorf("make link: %w", err)
	}
	answer := map[string]any{
		"InterfaceName":         map[string]string{"SrcName": attrs.Name, "DstPrefix": "eth"},
		"DisableGatewayService": true,
	}
	for _, addr := range n.given[req.EndpointID] {
		if addr.Is4() {
			answer["Gateway"] = known.gateway(addr)
		} else {
			answer["GatewayIPv6"] = known.gateway(addr)
		}
	}
	return answer, nil
}

func (n *networks) deleteEndpoint(body []byte) (any, error) {
	var req endpointRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	link, err := n.links.LinkByName(linkName(req.EndpointID))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return struct{}{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find link: %w", err)
	}
	if err := n.links.LinkDel(link); err != nil {
		return nil, fmt.Errorf("delete link: %w", err)
	}
	return struct{}{}, nil
}
