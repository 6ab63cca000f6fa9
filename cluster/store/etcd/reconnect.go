package etcd

import (
	"context"

	"google.golang.org/grpc/stats"
)

// connections tells when a connection to a member was made. It is grpc's
// stats.Handler, of which it needs the one event.
type connections struct{ made chan struct{} }

func newConnections() *connections { return &connections{made: make(chan struct{}, 1)} }

// HandleConn implements stats.Handler. It must not wait.
func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, begun := s.(*stats.ConnBegin); !begun {
		return
	}
	select {
	case c.made <- struct{}{}:
	default:
	}
}

// TagConn implements stats.Handler.
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements stats.Handler.
func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (c *connections) HandleRPC(context.Context, stats.RPCStats) {}

// Reconnected implements Reconnecter.
func (e *Client) Reconnected() <-chan struct{} { return e.connections.made }
