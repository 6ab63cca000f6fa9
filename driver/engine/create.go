package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"
)

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
