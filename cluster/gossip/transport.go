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

// How much strangers get of the port at a time: memberlist takes any number of
// streams, holds each for ten seconds, and reads up to 20 MiB before it asks for the
// key.
const (
	maxStreams = 128
	maxOfOne   = 8       // from one address
	maxOfLAN   = 64      // from one IPv6 network of 64 bits: a stranger has any address of it, and the cluster is in it too
	maxState   = 1 << 20 // bytes; the state of a node is some 150
)

// transport is memberlist's own, UDP and TCP, except that streams end with a
// context: a peer that accepts and then says nothing would otherwise hold up
// the stop of the agent for as long as memberlist's timeouts last. And that those
// from others are bounded: what is beyond is closed at once.
type transport struct {
	*memberlist.NetTransport
	ctx context.Context

	streams         chan net.Conn // of others, within the bounds
	closing, closed chan struct{}
	admitting       sync.WaitGroup

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func newTransport(ctx context.Context, c Config, l *log.Logger) (*transport, error) {
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{c.Address.String()},
		BindPort:  int(c.Port),
		Logger:    l,
	})
	if err != nil {
		return nil, fmt.Errorf("listen for members: %w", err)
	}
	t := &transport{NetTransport: inner, ctx: ctx, streams: make(chan net.Conn), closing: make(chan struct{}), closed: make(chan struct{}), from: map[netip.Prefix]int{}}
	t.admitting.Go(t.admit)
	return t, nil
}

// StreamCh has the streams that others opened.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes the port.
func (t *transport) Shutdown() error {
	close(t.closing)
	err := t.NetTransport.Shutdown() // which waits for its last stream to be taken
	close(t.closed)
	t.admitting.Wait()
	return err
}

// admit hands streams on that there is a place for, until the port is closed.
func (t *transport) admit() {
	for {
		select {
		case conn := <-t.NetTransport.StreamCh():
			source := sourcesOf(conn.RemoteAddr())
			if !t.take(source) {
				_ = conn.Close() // nothing was said on it
				continue
			}
			bounded := &inward{Conn: conn, left: maxState, release: sync.OnceFunc(func() { t.give(source) })}
			select {
			case t.streams <- bounded:
			case <-t.closing:
				_ = bounded.Close()
			}
		case <-t.closed:
			return
		}
	}
}

func (t *transport) take(source sources) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= maxStreams || t.from[source.address] >= maxOfOne || source.network.IsValid() && t.from[source.network] >= maxOfLAN {
		return false
	}
	t.add(source, 1)
	return true
}

func (t *transport) give(source sources) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(source, -1)
}

func (t *transport) add(source sources, streams int) {
	t.all += streams
	for _, of := range []netip.Prefix{source.address, source.network} {
		if of.IsValid() {
			t.from[of] += streams
		}
		if t.from[of] == 0 {
			delete(t.from, of)
		}
	}
}

// sources are as what a stream is counted. Whoever has one IPv6 address has a
// network of them.
type sources struct {
	address netip.Prefix
	network netip.Prefix // of IPv6
}

func sourcesOf(addr net.Addr) (of sources) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return of
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	of.address = netip.PrefixFrom(ip, ip.BitLen())
	if ip.Is6() {
		const bits = 64
		of.network = netip.PrefixFrom(ip, bits).Masked()
	}
	return of
}

// errStateTooLong is a stream of more than a cluster can have to say.
var errStateTooLong = errors.New("stream is longer than the state of any cluster")

// inward is a stream that another opened. One reader reads it, as memberlist does.
type inward struct {
	net.Conn
	left    int // bytes
	release func()
}

// Read reads as much as is left.
func (i *inward) Read(p []byte) (int, error) {
	if i.left == 0 {
		return 0, errStateTooLong
	}
	n, err := i.Conn.Read(p[:min(len(p), i.left)])
	i.left -= n
	return n, err
}

// Close ends the stream and gives its place back.
func (i *inward) Close() error {
	defer i.release()
	return i.Conn.Close()
}

// DialAddressTimeout opens a stream that is closed when the context ends.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
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
