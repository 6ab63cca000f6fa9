package cluster

import (
	"context"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport is memberlist's own, UDP and TCP, except that streams end with a
// context: a peer that accepts and then says nothing would otherwise hold up
// the stop of the agent for as long as memberlist's timeouts last.
type transport struct {
	*memberlist.NetTransport
	ctx context.Context
}

var _ memberlist.NodeAwareTransport = transport{}

func newTransport(ctx context.Context, c Config, l *log.Logger) (transport, error) {
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{c.Address.String()},
		BindPort:  int(c.Port),
		Logger:    l,
	})
	if err != nil {
		return transport{}, fmt.Errorf("listen for members: %w", err)
	}
	return transport{NetTransport: inner, ctx: ctx}, nil
}

// DialAddressTimeout opens a stream that is closed when the context ends.
func (t transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(t.ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: conn, stop: context.AfterFunc(t.ctx, func() { conn.Close() })}, nil
}

// stream is a connection that a context watches over until it is closed.
type stream struct {
	net.Conn
	once sync.Once
	stop func() bool
}

// Close ends the connection and the watch over it.
func (s *stream) Close() error {
	s.once.Do(func() { s.stop() })
	return s.Conn.Close()
}
