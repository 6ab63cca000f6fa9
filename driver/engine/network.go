package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/containerd/errdefs"
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
