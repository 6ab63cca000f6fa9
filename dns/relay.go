package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// What passing questions on may cost.
const (
	relayBudget   = 10 * time.Second // Docker itself tries up to three servers, four seconds each
	relayInFlight = 256              // questions of one sandbox; Docker's own limit is 1,024
	relayIdle     = 10 * time.Second // after which a socket is not used again
	relaySize     = 8192             // bytes of an answer over UDP, more than clients ask for
)

// errBusy is returned when too many questions are in flight.
var errBusy = errors.New("too many dns questions in flight")

// relay passes questions to Docker's resolver from inside the sandbox, as
// the container itself would, so that its servers, search list and other
// networks work as before.
//
// A UDP socket carries one question at a time and is used again while it is
// fresh. One that got no answer is closed: connection tracking ties a socket
// to the port Docker's resolver had when it was first used, and a restarted
// dockerd has another.
type relay struct {
	enter func(func() error) error // into the sandbox
	to    netip.AddrPort
	slots chan struct{}

	mu     sync.Mutex
	idle   []idleConn
	closed bool
}

type idleConn struct {
	conn  net.Conn
	since time.Time
}

func newRelay(enter func(func() error) error) *relay {
	return &relay{enter: enter, to: netip.AddrPortFrom(dockerAddr, 53), slots: make(chan struct{}, relayInFlight)}
}

// exchange asks Docker's resolver and returns its answer as it came.
func (r *relay) exchange(ctx context.Context, query []byte, stream bool) ([]byte, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return nil, errBusy
	}
	conn, err := r.take(stream)
	if err != nil {
		return nil, fmt.Errorf("ask docker's resolver: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := ask(conn, query, stream)
	if !stop() || err != nil || stream {
		conn.Close()
	} else {
		r.give(conn)
	}
	if err != nil {
		return nil, fmt.Errorf("ask docker's resolver: %w", err)
	}
	return answer, nil
}

// ask sends one question and waits for the answer that has its id.
func ask(conn net.Conn, query []byte, stream bool) ([]byte, error) {
	wire := &miekg.Conn{Conn: conn, UDPSize: relaySize}
	if _, err := wire.Write(query); err != nil {
		return nil, err
	}
	for {
		var hdr miekg.Header
		answer, err := wire.ReadMsgHeader(&hdr)
		switch {
		case err != nil:
			return nil, err
		case stream || hdr.Id == uint16(query[0])<<8|uint16(query[1]):
			return answer, nil
		}
	}
}

// take returns a connection with its deadline set.
func (r *relay) take(stream bool) (net.Conn, error) {
	conn := r.fresh(stream)
	if conn == nil {
		var err error
		if conn, err = r.dial(stream); err != nil {
			return nil, err
		}
	}
	return conn, conn.SetDeadline(time.Now().Add(relayBudget))
}

// fresh returns a socket that was used not long ago, or nil.
func (r *relay) fresh(stream bool) net.Conn {
	if stream {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.idle) > 0 {
		last := r.idle[len(r.idle)-1]
		r.idle = r.idle[:len(r.idle)-1]
		if time.Since(last.since) < relayIdle {
			return last.conn
		}
		last.conn.Close()
	}
	return nil
}

func (r *relay) give(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		conn.Close()
		return
	}
	r.idle = append(r.idle, idleConn{conn, time.Now()})
}

// trim closes the sockets that were not used for a while.
func (r *relay) trim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.idle) > 0 && time.Since(r.idle[0].since) >= relayIdle {
		r.idle[0].conn.Close()
		r.idle = r.idle[1:]
	}
}

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, one := range r.idle {
		one.conn.Close()
	}
	r.idle = nil
}

// dial opens a marked socket inside the sandbox.
func (r *relay) dial(stream bool) (conn net.Conn, err error) {
	network := "udp4"
	if stream {
		network = "tcp4"
	}
	dialer := net.Dialer{Timeout: relayBudget, Control: func(_, _ string, raw syscall.RawConn) error {
		var markErr error
		err := raw.Control(func(fd uintptr) {
			markErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
		})
		return errors.Join(err, markErr)
	}}
	entered := r.enter(func() error {
		conn, err = dialer.Dial(network, r.to.String())
		return err
	})
	return conn, entered
}
