package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	api "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// EndpointSettings is what a user may ask of one attachment, as with
// `docker network connect`. Zero fields ask for nothing.
type EndpointSettings struct {
	IPv4       netip.Addr
	IPv6       netip.Addr
	LinkLocal  []netip.Addr
	Aliases    []string
	Links      []string // "container" or "container:alias"
	DriverOpts map[string]string
	// MAC is what an inspect tells of a container's first network. Connect sends it
	// from API 1.44 on and engines up to 28 keep it for a container that they create
	// only: one that is attached anew has another. Older ones know one MAC per
	// container and keep that by themselves.
	MAC net.HardwareAddr
	// GwPriority orders a container's networks for the default route, highest
	// first (Docker 28); older engines ignore it.
	GwPriority int
}

// Connect attaches a container, running or stopped, to a network. The engine calls
// the plugin meanwhile if the container runs, and refuses one that is attached
// already. One that does not run is attached anew with these settings: that alone
// brings it from a network that is gone to its successor of the same name. An
// unknown network or container is ErrNotFound.
func (e *Engine) Connect(ctx context.Context, network, container string, settings EndpointSettings) error {
	op := fmt.Sprintf("connect container %s to network %s", container, network)
	return e.change(ctx, op, func(ctx context.Context, s *session) error {
		_, err := s.api.NetworkConnect(ctx, network, client.NetworkConnectOptions{
			Container:      container,
			EndpointConfig: settings.wire(),
		})
		return err
	})
}

// Disconnect detaches a container from a network. An attachment that is gone
// already, with its network or its container, is success. With force the engine
// also drops an endpoint of a container it does not know any more; the container is
// then taken by its name.
func (e *Engine) Disconnect(ctx context.Context, network, container string, force bool) error {
	op := fmt.Sprintf("disconnect container %s from network %s", container, network)
	return e.change(ctx, op, func(ctx context.Context, s *session) error {
		_, err := s.api.NetworkDisconnect(ctx, network, client.NetworkDisconnectOptions{
			Container: container,
			Force:     force,
		})
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		// Engines answer 500 for an attachment that is not there, as for any failure.
		if attached, lookErr := e.attached(ctx, network, container); lookErr == nil && !attached {
			return nil
		}
		return err
	})
}

// attached says whether the container refers to the network. One that never started
// knows its networks by name only, and so counts as attached.
func (e *Engine) attached(ctx context.Context, network, container string) (bool, error) {
	detail, err := e.Container(ctx, container)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return slices.ContainsFunc(detail.Attachments, func(a Attachment) bool {
		return a.NetworkID == network || a.Network == network || a.NetworkID == ""
	}), err
}

func (s EndpointSettings) wire() *api.EndpointSettings {
	settings := &api.EndpointSettings{
		Links:      s.Links,
		Aliases:    s.Aliases,
		DriverOpts: s.DriverOpts,
		MacAddress: api.HardwareAddr(s.MAC),
		GwPriority: s.GwPriority,
	}
	if s.IPv4.IsValid() || s.IPv6.IsValid() || len(s.LinkLocal) > 0 {
		settings.IPAMConfig = &api.EndpointIPAMConfig{
			IPv4Address: s.IPv4, IPv6Address: s.IPv6, LinkLocalIPs: s.LinkLocal,
		}
	}
	return settings
}
