package engine

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// apiIPv4Switch is the API version from which a network says whether it has IPv4
// and can be made without (Docker 28.0).
const apiIPv4Switch = "1.48"

// networkAnswer is "Network" of the Engine API, with addresses as text: see raw.go
// for why they are not read strictly.
type networkAnswer struct {
	ID         string `json:"Id"`
	Name       string
	Driver     string
	Scope      Scope
	Created    time.Time
	EnableIPv4 bool
	EnableIPv6 bool
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigOnly bool
	ConfigFrom struct{ Network string }
	Labels     map[string]string
	Options    map[string]string
	IPAM       struct {
		Driver  string
		Options map[string]string
		Config  []poolAnswer
	}
	Containers map[string]endpointAnswer
}

type poolAnswer struct {
	Subnet             string
	IPRange            string
	Gateway            string
	AuxiliaryAddresses map[string]string
}

type endpointAnswer struct {
	Name        string
	EndpointID  string
	MacAddress  string
	IPv4Address string
	IPv6Address string
}

func (a networkAnswer) network(s *session) Network {
	n := Network{
		ID:         a.ID,
		Name:       a.Name,
		Driver:     a.Driver,
		Scope:      a.Scope,
		Created:    a.Created,
		IPv4:       a.EnableIPv4 || s.below(apiIPv4Switch),
		IPv6:       a.EnableIPv6,
		Internal:   a.Internal,
		Attachable: a.Attachable,
		Ingress:    a.Ingress,
		ConfigOnly: a.ConfigOnly,
		ConfigFrom: a.ConfigFrom.Network,
		Labels:     a.Labels,
		Options:    a.Options,
		IPAM:       IPAM{Driver: a.IPAM.Driver, Options: a.IPAM.Options},
	}
	for _, p := range a.IPAM.Config {
		n.IPAM.Pools = append(n.IPAM.Pools, p.pool())
	}
	for container, ep := range a.Containers {
		n.Endpoints = append(n.Endpoints, ep.endpoint(container))
	}
	slices.SortFunc(n.Endpoints, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	return n
}

func (a poolAnswer) pool() Pool {
	p := Pool{Subnet: prefixFrom(a.Subnet), Range: prefixFrom(a.IPRange), Gateway: addrFrom(a.Gateway)}
	for name, addr := range a.AuxiliaryAddresses {
		if p.Aux == nil {
			p.Aux = make(map[string]netip.Addr, len(a.AuxiliaryAddresses))
		}
		p.Aux[name] = addrFrom(addr)
	}
	return p
}

func (a endpointAnswer) endpoint(container string) Endpoint {
	return Endpoint{
		ID:          a.EndpointID,
		ContainerID: container,
		Name:        a.Name,
		MAC:         macFrom(a.MacAddress),
		IPv4:        prefixFrom(a.IPv4Address),
		IPv6:        prefixFrom(a.IPv6Address),
	}
}

// addrFrom reads an address that an engine printed. It drops a prefix length, and
// gives the zero Addr for "", "<nil>" and anything else that is none.
func addrFrom(text string) netip.Addr {
	text, _, _ = strings.Cut(text, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// prefixFrom reads an address with its length that an engine printed. An address
// alone counts as the whole of it; anything else gives the zero Prefix.
func prefixFrom(text string) netip.Prefix {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix
	}
	addr := addrFrom(text)
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, addr.BitLen())
}

// macFrom reads a hardware address that an engine printed, or gives nil.
func macFrom(text string) net.HardwareAddr {
	mac, err := net.ParseMAC(text)
	if err != nil {
		return nil
	}
	return mac
}
