package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	miekg "github.com/miekg/dns"

	"gvlan/dns/serve"
	"gvlan/dns/zone"
)

// resolver is what runs in one sandbox while it is open: sockets beside
// those of Docker's resolver, the rules that lead questions to them, and the
// relay to Docker's resolver.
type resolver struct {
	zone  *zone.Zone
	scope *atomic.Pointer[zone.Scope]
	enter func(func() error) error

	udp   *net.UDPConn
	tcp   *net.TCPListener
	rules *rules
	relay *relay
	spin  atomic.Uint32
	owners

	namespace [2]uint64 // inodes that processes in this namespace show
	cancel    context.CancelFunc
}

// openResolver opens a resolver in the sandbox that enter enters, and leads
// its questions there; serve answers them.
func openResolver(names *zone.Zone, scope *atomic.Pointer[zone.Scope], enter func(func() error) error) (*resolver, error) {
	r := &resolver{zone: names, scope: scope, enter: enter, relay: newRelay(enter)}
	err := enter(r.openInside)
	if err == nil {
		err = r.install()
	}
	if err != nil {
		r.abandon()
		return nil, err
	}
	return r, nil
}

// openInside opens what has to be opened inside the sandbox.
func (r *resolver) openInside() (err error) {
	// The kernel chooses the ports, out of the range no service is set to
	// listen in: a fixed one could be what the container wants for itself
	// (5353 is every mDNS responder's).
	if r.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(dockerAddr, 0))); err != nil {
		return fmt.Errorf("open dns socket in sandbox: %w", err)
	}
	if r.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(dockerAddr, 0))); err != nil {
		return fmt.Errorf("open dns socket in sandbox: %w", err)
	}
	if r.rules, err = newRules(); err != nil {
		return err
	}
	for i, path := range []string{"/proc/thread-self/ns/net", "/proc/thread-self/net/dev"} {
		if r.namespace[i], err = inode(path); err != nil {
			return fmt.Errorf("identify sandbox: %w", err)
		}
	}
	return nil
}

// serve answers until ctx ends, and returns when the last question was
// answered.
func (r *resolver) serve(ctx context.Context) error {
	defer r.relay.close()
	s := &serve.Server{
		Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { r.answer(ctx, w, q) }),
		Inline: func(dst, packet []byte, _ netip.AddrPort, spin uint32) ([]byte, bool) {
			return r.zone.AnswerPacket(dst, packet, r.asker(spin), r.alone())
		},
	}
	return s.Serve(ctx, []*net.UDPConn{r.udp}, []net.Listener{r.tcp})
}

// asker is who asks in the sandbox.
func (r *resolver) asker(spin uint32) zone.Asker {
	return zone.Asker{Scope: *r.scope.Load(), Spin: spin, Recursion: true}
}

// answer answers one question: from the zone when the name is one of the
// sandbox's networks, else with whatever Docker's resolver says.
func (r *resolver) answer(ctx context.Context, w miekg.ResponseWriter, q *miekg.Msg) {
	by := r.asker(r.spin.Add(1))
	from := serve.ClientOf(w)
	by.Stream = from.Stream
	answer := r.zone.Answer(q, by)
	if answer.Msg != nil && !(answer.Bare && r.docker(ctx, q.Question[0].Name, by.Scope, from)) {
		answer.Count()
		w.WriteMsg(answer.Msg)
		return
	}
	r.pass(ctx, w, q, from)
}

// pass lets Docker's resolver answer. When it does not, neither do we: the
// client sees what it would see without us.
func (r *resolver) pass(ctx context.Context, w miekg.ResponseWriter, q *miekg.Msg, from serve.Client) {
	query, err := q.Pack()
	if err != nil {
		return
	}
	answer, err := r.relay.exchange(ctx, query, from, from.Stream)
	if err == nil {
		r.zone.CountPassed(int(answer[3]&0xf), int(answer[6])<<8|int(answer[7]))
		w.Write(answer)
		return
	}
	var failure net.Error
	silent := errors.As(err, &failure) && failure.Timeout()
	if silent || from.Stream {
		w.Close()
		return
	}
	m := new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure)
	r.zone.CountPassed(m.Rcode, 0)
	w.WriteMsg(m)
}

// install leads the sandbox's questions here.
func (r *resolver) install() error {
	return r.rules.install(
		uint16(r.udp.LocalAddr().(*net.UDPAddr).Port), uint16(r.tcp.Addr().(*net.TCPAddr).Port))
}

// beat keeps the rules alive. Rules that were taken away (a container may
// flush its own ruleset) are made again.
func (r *resolver) beat() error {
	r.relay.trim()
	if err := r.rules.beat(); err != nil {
		return r.install()
	}
	return nil
}

// close leads questions back to Docker's resolver, then stops answering.
func (r *resolver) close() error {
	err := r.rules.remove()
	r.cancel()
	return err
}

// abandon closes what was opened and nobody serves yet.
func (r *resolver) abandon() {
	if r.udp != nil {
		r.udp.Close()
	}
	if r.tcp != nil {
		r.tcp.Close()
	}
	if r.rules != nil {
		r.rules.close()
	}
}

// inode returns the inode of a path, which shows one namespace from another.
func inode(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}
