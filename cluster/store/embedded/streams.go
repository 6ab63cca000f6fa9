package embedded

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// endStreams is a gRPC interceptor that ends watches when the server stops.
// etcd waits 7 s for them otherwise, on each of its listeners.
func (s *Server) endStreams(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	select {
	case <-s.stopping:
		return status.Error(codes.Unavailable, "the server stops")
	default:
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-over:
		}
	}()
	return handle(srv, endable{stream, ctx})
}

// endable is a stream whose context can be ended.
type endable struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (e endable) Context() context.Context { return e.ctx }
