package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/zone"
)

// What a client may cost.
const (
	tcpTotal   = 256             // connections of one listener
	tcpOthers  = 192             // of those, for who is not on this host's loopback
	tcpClient  = 32              // connections of one client
	tcpQueries = 128             // questions of one connection
	tcpIdle    = 8 * time.Second // between two questions (RFC 7766 section 6.2.3)
	tcpWrite   = 2 * time.Second // until a reader that stalls is cut off
	shutdown   = 2 * time.Second // for questions in flight when a server stops
	udpAnswer  = 4096            // bytes of a socket's buffer for answers, more than any over UDP
)

// InlineFunc answers a packet into dst, without waiting for anything, or
// returns false. spin differs from question to question.
type InlineFunc func(dst, packet []byte, client netip.AddrPort, spin uint32) ([]byte, bool)

// Server serves on any number of sockets.
type Server struct {
	Inline  InlineFunc    // asked first, for packets
	Handler miekg.Handler // answers the rest, each question in a goroutine
	Batched bool          // many packets at a time: for few sockets with many questions
}

// Serve answers on the sockets until ctx ends or one of them fails. It
// closes them all before it returns.
func (s *Server) Serve(ctx context.Context, packets []*net.UDPConn, streams []net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for _, one := range s.servers(packets, streams) {
		started := make(chan struct{})
		one.NotifyStartedFunc = func() { close(started) }
		group.Go(func() {
			if err := one.ActivateAndServe(); err != nil {
				cancel(fmt.Errorf("serve dns: %w", err))
			}
		})
		group.Go(func() {
			<-ctx.Done()
			select {
			case <-started:
			case <-time.After(shutdown):
			}
			limit, stop := context.WithTimeout(context.Background(), shutdown)
			defer stop()
			one.ShutdownContext(limit)
		})
	}
	group.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (s *Server) servers(packets []*net.UDPConn, streams []net.Listener) []*miekg.Server {
	var all []*miekg.Server
	for _, conn := range packets {
		all = append(all, &miekg.Server{PacketConn: s.wrap(conn), Handler: s.Handler, UDPSize: zone.UDPSize})
	}
	for _, l := range streams {
		all = append(all, &miekg.Server{
			Listener: newLimited(l), Handler: s.Handler, MaxTCPQueries: tcpQueries,
			IdleTimeout: func() time.Duration { return tcpIdle },
		})
	}
	return all
}

// wrap puts inline in front of a socket. A socket on every address
// is left to the library, which takes care that answers leave from the
// address they were asked at.
func (s *Server) wrap(conn *net.UDPConn) net.PacketConn {
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	switch {
	case local.IsUnspecified():
		return conn
	case s.Batched:
		return newBatchConn(conn, local, s.Inline)
	}
	return &singleConn{packetConn: packetConn{UDPConn: conn, inline: s.Inline}}
}

// packetConn is a UDP socket that answers what inline can, and hands its
// reader the rest: what singleConn and batchConn share. Only one goroutine may
// read.
type packetConn struct {
	*net.UDPConn
	inline InlineFunc
	spin   atomic.Uint32
}

// singleConn reads and answers one packet at a time.
type singleConn struct {
	packetConn
	buf [udpAnswer]byte
}

// ReadFrom returns the next packet that was not answered already.
func (c *singleConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, client, err := c.UDPConn.ReadFromUDPAddrPort(p)
		if err != nil {
			return 0, nil, err
		}
		if out, ok := c.inline(c.buf[:0], p[:n], client, c.spin.Add(1)); ok {
			c.UDPConn.WriteToUDPAddrPort(out, client)
			continue
		}
		return n, &peer{client}, nil
	}
}

// WriteTo answers a client ReadFrom returned.
func (c *packetConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	if client, ok := addr.(*peer); ok {
		return c.UDPConn.WriteToUDPAddrPort(p, client.AddrPort)
	}
	return c.UDPConn.WriteTo(p, addr)
}

// SetReadDeadline takes only the deadline that ends the server. The library
// sets one before each read, which would wake every idle socket all the
// time: 500 sandboxes are 500 of them.
func (c *packetConn) SetReadDeadline(t time.Time) error {
	if t.After(time.Now()) {
		return nil
	}
	return c.UDPConn.SetReadDeadline(t)
}

// peer is a UDP client, as net.Addr.
type peer struct{ netip.AddrPort }

// Network implements net.Addr.
func (peer) Network() string { return "udp" }

// Client is who asks, and over what.
type Client struct {
	netip.AddrPort
	Stream bool // TCP
}

// ClientOf returns who a question came from.
func ClientOf(w miekg.ResponseWriter) Client {
	switch addr := w.RemoteAddr().(type) {
	case *peer:
		return Client{AddrPort: addr.AddrPort}
	case *net.UDPAddr:
		return Client{AddrPort: addr.AddrPort()}
	case *net.TCPAddr:
		return Client{AddrPort: addr.AddrPort(), Stream: true}
	}
	return Client{}
}
