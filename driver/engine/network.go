package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Scope is how far a network reaches, in Docker's words.
type Scope string

// The scopes of a network. Docker calls "global" what a driver of that scope made
// on this host alone; only "swarm" networks belong to a cluster of engines.
const (
	ScopeLocal  Scope = "local"
	ScopeGlobal Scope = "global"
	ScopeSwarm  Scope = "swarm"
)

// Network is a network as the engine lists it (GET /networks).
type Network struct {
	// ID is 64 hex digits, or 25 letters and digits when the scope is swarm.
	ID         string
	Name       string
	Driver     string
	Scope      Scope
	Created    time.Time
	IPv4       bool // always true on engines below API 1.48, which cannot turn it off
	IPv6       bool
	Internal   bool
	Attachable bool
	Ingress    bool
	// ConfigOnly networks hold settings for others and never reach a driver.
	ConfigOnly bool
	// ConfigFrom names the config-only network the settings came from, or is empty.
	ConfigFrom string
	Labels     map[string]string
	Options    map[string]string
	IPAM       IPAM
	// Endpoints are the running containers' attachments on this host. Only Network
	// fills them, Networks leaves them nil.
	Endpoints []Endpoint
}

// IPAM is how a network gets its addresses.
type IPAM struct {
	Driver  string
	Options map[string]string
	// Pools are the subnets as the user configured them. A gateway the driver or
	// the engine chose is missing as long as any subnet was configured.
	Pools []Pool
}

// Pool is one subnet of a network. Fields that were not given are zero.
type Pool struct {
	Subnet  netip.Prefix
	Range   netip.Prefix
	Gateway netip.Addr
	Aux     map[string]netip.Addr
}

// Endpoint is the attachment of a running container as its network lists it.
type Endpoint struct {
	ID          string
	ContainerID string // "ep-" and the endpoint id when no container owns it
	Name        string // the container's name
	MAC         net.HardwareAddr
	IPv4        netip.Prefix
	IPv6        netip.Prefix
}

// Networks lists the networks of one driver, or of all when driver is empty. On a
// swarm manager they include the cluster's networks that have no endpoint here.
func (e *Engine) Networks(ctx context.Context, driver string) ([]Network, error) {
	query := url.Values{}
	if driver != "" {
		query.Set("filters", fmt.Sprintf(`{"driver":{%q:true}}`, driver))
	}
	return e.networks(ctx, "list networks", query)
}

func (e *Engine) networks(ctx context.Context, op string, query url.Values) ([]Network, error) {
	var list []Network
	err := e.read(ctx, op, func(ctx context.Context, s *session) error {
		var answer []networkAnswer
		if err := e.get(ctx, s, "/networks", query, &answer); err != nil {
			return err
		}
		list = make([]Network, 0, len(answer))
		for _, a := range answer {
			list = append(list, a.network(s))
		}
		return nil
	})
	return list, err
}

// Network returns one network with its endpoints. It takes an id; the engine also
// accepts a name, which two networks of an engine below API 1.44 may share.
// Unknown ids are ErrNotFound.
func (e *Engine) Network(ctx context.Context, id string) (Network, error) {
	var network Network
	err := e.read(ctx, "inspect network "+id, func(ctx context.Context, s *session) error {
		var answer networkAnswer
		if err := e.get(ctx, s, "/networks/"+url.PathEscape(id), nil, &answer); err != nil {
			return err
		}
		network = answer.network(s)
		return nil
	})
	return network, err
}

// RemoveNetwork removes a network. One that is gone already is success; one with
// endpoints stays and is ErrInUse. The engine ignores containers that are stopped.
func (e *Engine) RemoveNetwork(ctx context.Context, id string) error {
	return e.change(ctx, "remove network "+id, func(ctx context.Context, s *session) error {
		_, err := s.api.NetworkRemove(ctx, id, client.NetworkRemoveOptions{})
		switch {
		case errdefs.IsNotFound(err):
			return nil
		case errdefs.IsPermissionDenied(err), errdefs.IsConflict(err):
			// 403 is what engines answer for a network with endpoints.
			return fmt.Errorf("%w: %w", ErrInUse, err)
		}
		return err
	})
}

// apiUniqueNames is the API version from which an engine never makes two networks
// of one name (Docker 25.0). Below it the request must ask for that, and even then
// two at once may both succeed.
const apiUniqueNames = "1.44"

// NetworkRequest describes a network to make. Nothing is left to the engine's own
// defaults but what it merges into Options from its default-network-opts.
type NetworkRequest struct {
	Name       string
	Driver     string
	IPv4       bool // false needs Docker 28
	IPv6       bool
	Internal   bool
	Attachable bool
	IPAM       IPAM
	Options    map[string]string
	Labels     map[string]string
}

// createRequest is NetworkCreateRequest of the Engine API with the field that went
// away in 1.44.
type createRequest struct {
	api.CreateRequest
	CheckDuplicate bool
}

// CreateNetwork makes a network and returns its id. The engine calls the plugin
// meanwhile. It fails with ErrNameTaken when the engine has a network of that name,
// also when one appeared at the same moment: then it removes its own again. A
// network without IPv4 is ErrUnsupported on engines below Docker 28.
func (e *Engine) CreateNetwork(ctx context.Context, request NetworkRequest) (string, error) {
	op := "create network " + request.Name
	var id string
	err := e.change(ctx, op, func(ctx context.Context, s *session) error {
		if !request.IPv4 && s.below(apiIPv4Switch) {
			return fmt.Errorf("%w: a network without IPv4 needs Docker 28", ErrUnsupported)
		}
		made, err := e.create(ctx, s, request)
		if err != nil {
			return err
		}
		if s.below(apiUniqueNames) {
			err = e.yieldName(ctx, request.Name, made)
		}
		id = made
		return err
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (e *Engine) create(ctx context.Context, s *session, request NetworkRequest) (string, error) {
	var answer api.CreateResponse
	err := e.post(ctx, s, "/networks/create", createRequest{
		CreateRequest:  request.wire(),
		CheckDuplicate: true,
	}, &answer)
	if errdefs.IsConflict(err) {
		return "", fmt.Errorf("%w: %w", ErrNameTaken, err)
	}
	return answer.ID, err
}

func (r NetworkRequest) wire() api.CreateRequest {
	ipam := &api.IPAM{Driver: r.IPAM.Driver, Options: r.IPAM.Options}
	for _, p := range r.IPAM.Pools {
		ipam.Config = append(ipam.Config, api.IPAMConfig{
			Subnet: p.Subnet, IPRange: p.Range, Gateway: p.Gateway, AuxAddress: p.Aux,
		})
	}
	return api.CreateRequest{
		Name:       r.Name,
		Driver:     r.Driver,
		EnableIPv4: &r.IPv4,
		EnableIPv6: &r.IPv6,
		IPAM:       ipam,
		Internal:   r.Internal,
		Attachable: r.Attachable,
		Options:    r.Options,
		Labels:     r.Labels,
	}
}

// yieldName removes the network just made if another one bears its name: the other
// may be a user's, and two of one name make every later `docker run` ambiguous.
func (e *Engine) yieldName(ctx context.Context, name, made string) error {
	query := url.Values{"filters": {fmt.Sprintf(`{"name":{%q:true}}`, name)}}
	list, err := e.networks(ctx, "look for a second network "+name, query)
	if err != nil {
		return errors.Join(err, e.RemoveNetwork(ctx, made))
	}
	for _, n := range list {
		if n.Name == name && n.ID != made {
			return errors.Join(fmt.Errorf("%w: by %s", ErrNameTaken, n.ID), e.RemoveNetwork(ctx, made))
		}
	}
	return nil
}

// apiIPv4Switch is the API version from which a network says whether it has IPv4
// and can be made without (Docker 28.0).
const apiIPv4Switch = "1.48"

// networkAnswer is "Network" of the Engine API, with addresses as text: one that
// is not well formed must not hide the rest.
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
