package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"gvlan/tests/lab"
)

// etcdProxy stands between one agent and etcd, as etcd's own gRPC proxy does, and
// can withhold what watches bring while requests are answered.
type etcdProxy struct {
	endpoint string
	etcd     *grpc.ClientConn

	mu   sync.Mutex
	open chan struct{} // closed while watches get their events
}

// newEtcdProxy serves on the machine beside the hosts.
func (c *cluster) newEtcdProxy() *etcdProxy {
	c.t.Helper()
	const port = "2379"
	listener := must(c.Peer.Listen(c.t.Context(), "tcp", net.JoinHostPort(c.Peer.Addr4.String(), port)))(c.t)
	p := &etcdProxy{endpoint: "http://" + listener.Addr().String(), open: make(chan struct{})}
	close(p.open)
	p.etcd = must(grpc.NewClient("passthrough:///"+c.etcd.Addr.String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return c.Peer.DialContext(ctx, "tcp", addr) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Second, MaxDelay: time.Second}}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(unread{}))))(c.t)
	server := grpc.NewServer(grpc.ForceServerCodec(unread{}), grpc.UnknownServiceHandler(p.pass))
	go func() { _ = server.Serve(listener) }()
	c.t.Cleanup(func() {
		server.Stop()
		_ = p.etcd.Close()
	})
	return p
}

// agentBehind starts an agent that has etcd by the proxy only.
func (c *cluster) agentBehind(p *etcdProxy, h *lab.Host) *lab.Agent {
	c.t.Helper()
	args := make([]string, len(c.args))
	for i, arg := range c.args {
		if arg == c.etcd.Endpoint() {
			arg = p.endpoint
		}
		args[i] = arg
	}
	return c.agent(h, args...)
}

// withhold keeps back what watches bring, until the end of it is asked for.
func (p *etcdProxy) withhold() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := make(chan struct{})
	p.open = open
	return func() { close(open) }
}

func (p *etcdProxy) flows(ctx context.Context) error {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass hands a call on in both directions.
func (p *etcdProxy) pass(_ any, from grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(from)
	ctx, cancel := context.WithCancel(from.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	to, err := p.etcd.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var message []byte
			err := from.RecvMsg(&message)
			if err == nil {
				err = to.SendMsg(&message)
			}
			if err != nil {
				_ = to.CloseSend()
				return
			}
		}
	}()
	for {
		var message []byte
		if err := to.RecvMsg(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if method == "/etcdserverpb.Watch/Watch" {
			if err := p.flows(ctx); err != nil {
				return err
			}
		}
		if err := from.SendMsg(&message); err != nil {
			return err
		}
	}
}

// unread is a codec for messages that are not looked into.
type unread struct{}

func (unread) Marshal(v any) ([]byte, error) {
	if message, ok := v.(*[]byte); ok {
		return *message, nil
	}
	return nil, fmt.Errorf("marshal %T, want a message's bytes", v)
}

func (unread) Unmarshal(data []byte, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal into %T, want a message's bytes", v)
	}
	*message = append([]byte(nil), data...)
	return nil
}

func (unread) Name() string { return "proto" }
