package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"gvlan/dns/serve"
	"gvlan/dns/zone"
)

// Config is what a Listener is made of.
type Config struct {
	Zone    *zone.Zone
	Forward *Forwarder     // asks others what the zone does not know; nil: that is refused
	Allow   []netip.Prefix // who may ask besides the loopback and the addresses listened at
}

// Listener answers the host and, when told, the LAN: fully qualified names
// below the domain, and the reverse names of the networks' subnets. What is
// neither is refused, or forwarded when it has upstreams. A container that
// asks from its own address sees its own network only.
type Listener struct {
	zone    *zone.Zone
	forward *Forwarder
	allow   []netip.Prefix
	excess  *excess
	spin    atomic.Uint32

	mu  sync.Mutex                   // of who adds to own
	own atomic.Pointer[[]netip.Addr] // addresses it listens at; replaced, never changed
}

// New returns a listener that does nothing until Serve.
func New(c Config) *Listener {
	l := &Listener{zone: c.Zone, forward: c.Forward, allow: c.Allow, excess: newExcess(time.Now)}
	l.own.Store(new([]netip.Addr))
	return l
}

// Serve answers on these sockets until ctx ends (nil) or one fails. It
// closes them. It may run several times at once, on other sockets each.
func (l *Listener) Serve(ctx context.Context, packets []*net.UDPConn, streams []net.Listener) error {
	l.listensAt(packets)
	s := &serve.Server{
		Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { l.answer(ctx, w, q) }),
		Inline:  l.inline,
		Batched: true,
	}
	return s.Serve(ctx, packets, streams)
}

// listensAt adds the addresses of these sockets to own.
func (l *Listener) listensAt(packets []*net.UDPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := slices.Clone(*l.own.Load())
	for _, conn := range packets {
		own = append(own, conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap())
	}
	l.own.Store(&own)
}

// here reports whether a client is this host itself, which no packet from
// outside can claim.
func (l *Listener) here(client netip.Addr) bool {
	return client.IsLoopback() || slices.Contains(*l.own.Load(), client)
}

// allowed reports whether a client may ask at all.
func (l *Listener) allowed(client netip.Addr) bool {
	return l.here(client) ||
		slices.ContainsFunc(l.allow, func(p netip.Prefix) bool { return p.Contains(client) })
}

// inline answers a packet from the zone, cut short where its client gets too
// much, or leaves it to answer.
func (l *Listener) inline(dst, packet []byte, client netip.AddrPort, spin uint32) ([]byte, bool) {
	by := zone.Asker{Scope: zone.Everything(), Spin: spin, Recursion: l.forward != nil}
	addr := client.Addr().Unmap()
	if addr.IsLoopback() {
		return l.zone.AnswerPacket(dst, packet, by, true)
	}
	if !l.allowed(addr) {
		return nil, false
	}
	by.Scope, _ = l.zone.ScopeOf(addr)
	out, ok := l.zone.AnswerPacket(dst, packet, by, true)
	if ok && !l.here(addr) && !l.excess.allows(addr, len(packet), len(out)) {
		out = zone.Cut(out, packet)
	}
	return out, ok
}

// answer answers from the zone, else asks other servers or refuses.
func (l *Listener) answer(ctx context.Context, w miekg.ResponseWriter, q *miekg.Msg) {
	from := serve.ClientOf(w)
	client := from.Addr().Unmap()
	by := zone.Asker{Spin: l.spin.Add(1), Recursion: l.forward != nil, Stream: from.Stream}
	if !l.allowed(client) || len(q.Question) == 1 && l.forward != nil && l.forward.caught(q.Question[0].Name) {
		l.refuse(w, q, by)
		return
	}
	by.Scope, _ = l.zone.ScopeOf(client)
	answer := l.zone.Answer(q, by)
	m := answer.Msg
	switch {
	case m != nil:
		answer.Count()
	case l.forward != nil:
		who := client
		if l.here(client) {
			who = netip.Addr{}
		}
		m = l.forward.resolve(ctx, q, by, who)
		l.zone.CountPassed(m.Rcode, len(m.Answer))
	default:
		l.refuse(w, q, by)
		return
	}
	if !by.Stream && !l.here(client) && !l.excess.allows(client, q.Len(), m.Len()) {
		zone.CutMessage(m)
	}
	w.WriteMsg(m)
}

// refuse says that a question is not answered here.
func (l *Listener) refuse(w miekg.ResponseWriter, q *miekg.Msg, by zone.Asker) {
	m := zone.Fit(q, new(miekg.Msg).SetRcode(q, miekg.RcodeRefused), by)
	l.zone.CountPassed(m.Rcode, 0)
	w.WriteMsg(m)
}

// receiveBuffer of a host socket: bursts come while a CPU is busy elsewhere.
const receiveBuffer = 1 << 20 // bytes

// Open opens the sockets for an address of this host, such as
// 127.0.0.1:5354: one for TCP and, for UDP, one for each of up to four CPUs.
func Open(ctx context.Context, address string) (packets []*net.UDPConn, streams []net.Listener, err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for dns at %q: want an address and a port, such as 127.0.0.1:5354", address)
	}
	defer func() {
		if err != nil {
			closeAll(packets, streams)
			err = fmt.Errorf("listen for dns at %s: %w", address, err)
		}
	}()
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		if !strings.HasPrefix(network, "udp") {
			return nil
		}
		var option error
		control := raw.Control(func(fd uintptr) {
			option = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer))
		})
		return errors.Join(control, option)
	}}
	stream, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, nil, err
	}
	streams = append(streams, stream)
	at = netip.AddrPortFrom(at.Addr(), stream.Addr().(*net.TCPAddr).AddrPort().Port())
	for range min(runtime.GOMAXPROCS(0), 4) {
		packet, err := config.ListenPacket(ctx, "udp", at.String())
		if err != nil {
			return packets, streams, err
		}
		packets = append(packets, packet.(*net.UDPConn))
	}
	return packets, streams, nil
}

// closeAll closes sockets that nobody serves.
func closeAll(packets []*net.UDPConn, streams []net.Listener) {
	for _, p := range packets {
		p.Close()
	}
	for _, s := range streams {
		s.Close()
	}
}
