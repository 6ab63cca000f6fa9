package sim

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// queueDepth is how many packets or streams a port holds for its reader.
const queueDepth = 8192

// Fabric is a LAN in memory. Packets arrive at once and are never lost,
// except where it is told so: between ports that are cut apart, and at ports
// nobody has. A stalled port gets and gives everything later.
type Fabric struct {
	mu      sync.Mutex
	ports   map[string]*Port // by host:port
	cut     func(from, to netip.AddrPort) bool
	dropped int
}

// NewFabric makes an empty LAN.
func NewFabric() *Fabric {
	return &Fabric{ports: map[string]*Port{}, cut: func(_, _ netip.AddrPort) bool { return false }}
}

// Cut replaces the rule that says which way nothing passes. nil heals.
func (f *Fabric) Cut(rule func(from, to netip.AddrPort) bool) {
	if rule == nil {
		rule = func(_, _ netip.AddrPort) bool { return false }
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = rule
}

// Dropped returns how many packets were lost because a port's queue was
// full. A test that means to lose none asserts that it is 0.
func (f *Fabric) Dropped() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped
}

// Open plugs a port in. An address that is taken is the caller's mistake.
func (f *Fabric) Open(addr netip.AddrPort) *Port {
	p := &Port{
		fabric:  f,
		addr:    addr,
		packets: make(chan *memberlist.Packet, queueDepth),
		streams: make(chan net.Conn, queueDepth),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ports[addr.String()] != nil {
		panic(fmt.Sprintf("sim: port %s is taken", addr))
	}
	f.ports[addr.String()] = p
	return p
}

// path finds the port behind an address and how long the way there takes
// now; nil when nothing passes.
func (f *Fabric) path(from *Port, to string) (port *Port, delay time.Duration, refused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	port = f.ports[to]
	if port == nil {
		return nil, 0, true
	}
	if f.cut(from.addr, port.addr) {
		return nil, 0, false
	}
	until := from.stalled
	if port.stalled.After(until) {
		until = port.stalled
	}
	return port, max(0, time.Until(until)), false
}

// both reports whether packets pass both ways between two ports.
func (f *Fabric) both(a, b *Port) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.cut(a.addr, b.addr) && !f.cut(b.addr, a.addr)
}

// Port is one host's place on the LAN: memberlist's transport.
type Port struct {
	fabric  *Fabric
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn

	// Guarded by the fabric's lock.
	closed  bool
	stalled time.Time // until then nothing comes or goes
	sent    Traffic
}

var _ memberlist.NodeAwareTransport = (*Port)(nil)

// Traffic is what a port sent.
type Traffic struct {
	Packets int
	Bytes   int // in packets, without the headers of UDP and below
	Streams int // opened
}

// Sent returns what the port has sent so far.
func (p *Port) Sent() Traffic {
	p.fabric.mu.Lock()
	defer p.fabric.mu.Unlock()
	return p.sent
}

// Stall holds everything that comes or goes back for a while.
func (p *Port) Stall(d time.Duration) {
	p.fabric.mu.Lock()
	defer p.fabric.mu.Unlock()
	p.stalled = time.Now().Add(d)
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (p *Port) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.addr.Addr().AsSlice(), int(p.addr.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (p *Port) WriteTo(b []byte, addr string) (time.Time, error) {
	return p.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// errClosed is no net.OpError, which memberlist takes for a failure of the
// other side.
var errClosed = errors.New("port is closed")

// WriteToAddress sends a packet. That nobody gets it is no error.
func (p *Port) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	now := time.Now()
	p.fabric.mu.Lock()
	closed := p.closed
	if !closed {
		p.sent.Packets++
		p.sent.Bytes += len(b)
	}
	p.fabric.mu.Unlock()
	if closed {
		return now, errClosed
	}
	to, delay, _ := p.fabric.path(p, a.Addr)
	if to == nil {
		return now, nil
	}
	packet := &memberlist.Packet{Buf: slices.Clone(b), From: net.UDPAddrFromAddrPort(p.addr)}
	if delay > 0 {
		time.AfterFunc(delay, func() { to.deliver(packet) })
	} else {
		to.deliver(packet)
	}
	return now, nil
}

// deliver queues a packet; a full queue loses it.
func (p *Port) deliver(packet *memberlist.Packet) {
	packet.Timestamp = time.Now()
	p.fabric.mu.Lock()
	defer p.fabric.mu.Unlock()
	if p.closed {
		return
	}
	select {
	case p.packets <- packet:
	default:
		p.fabric.dropped++
	}
}

// PacketCh implements memberlist.Transport.
func (p *Port) PacketCh() <-chan *memberlist.Packet { return p.packets }

// StreamCh implements memberlist.Transport.
func (p *Port) StreamCh() <-chan net.Conn { return p.streams }

// DialTimeout implements memberlist.Transport.
func (p *Port) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return p.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream: refused at once where nobody listens,
// silent until the timeout where something is cut.
func (p *Port) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	to, delay, refused := p.fabric.path(p, a.Addr)
	if refused {
		return nil, fmt.Errorf("dial %s: connection refused", a.Addr)
	}
	if to == nil || !p.fabric.both(p, to) || delay > timeout {
		time.Sleep(timeout)
		return nil, fmt.Errorf("dial %s: %w", a.Addr, os.ErrDeadlineExceeded)
	}
	time.Sleep(delay)
	near, far := net.Pipe()
	// A pipe has no buffer: what TCP would take and keep waits here for a
	// reader, and must not wait for ever.
	if err := near.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("dial %s: %w", a.Addr, err)
	}
	if !to.accept(&stalling{Conn: far, a: to, b: p}) {
		return nil, fmt.Errorf("dial %s: connection refused", a.Addr)
	}
	p.fabric.mu.Lock()
	p.sent.Streams++
	p.fabric.mu.Unlock()
	return &stalling{Conn: near, a: p, b: to}, nil
}

func (p *Port) accept(conn net.Conn) bool {
	p.fabric.mu.Lock()
	defer p.fabric.mu.Unlock()
	if p.closed {
		return false
	}
	select {
	case p.streams <- conn:
		return true
	default:
		return false
	}
}

// Shutdown unplugs the port and closes the streams nobody took.
func (p *Port) Shutdown() error {
	p.fabric.mu.Lock()
	defer p.fabric.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	delete(p.fabric.ports, p.addr.String())
	for {
		select {
		case conn := <-p.streams:
			conn.Close()
		default:
			return nil
		}
	}
}

// stalling is a stream whose writes wait while one of its ends is stalled.
type stalling struct {
	net.Conn
	a, b *Port
}

// Write sends once both ends are clear.
func (s *stalling) Write(b []byte) (int, error) {
	_, delay, _ := s.a.fabric.path(s.a, s.b.addr.String())
	time.Sleep(delay)
	return s.Conn.Write(b)
}
