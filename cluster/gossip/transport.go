package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// checkPort says in plain words that the port is taken, which memberlist's
// error would hide.
func checkPort(ctx context.Context, addr netip.Addr, port uint16) error {
	at := netip.AddrPortFrom(addr, port).String()
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", at)
	if err == nil {
		err = tcp.Close()
	}
	if err == nil {
		var udp net.PacketConn
		if udp, err = lc.ListenPacket(ctx, "udp", at); err == nil {
			err = udp.Close()
		}
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %s of %s is in use by another program: free it, or give every node another --gossip-port (%d is gvlan's own; 7946 would be Docker swarm's): %w",
			strconv.Itoa(int(port)), addr, DefaultPort, err)
	default:
		return fmt.Errorf("listen for members on %s: %w", at, err)
	}
}

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
