package sandbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"gvlan/dns/serve"
)

// What passing questions on may cost.
const (
	relayBudget   = 10 * time.Second // Docker itself tries up to three servers, four seconds each
	relayInFlight = 256              // questions of one sandbox; Docker's own limit is 1,024
	relayStreams  = 32               // of those, over TCP: a connection that is being made keeps a thread, of which the agent has 10,000
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
//
// Where a firewall of the container's lets some users ask and not us, the
// question is passed on by a socket of the user whose it is.
type relay struct {
	enter   func(func() error) error // into the sandbox
	to      netip.AddrPort
	slots   chan struct{}
	streams chan struct{}

	mu     sync.Mutex
	idle   []idleConn
	closed bool
}

// idleConn is a socket that waits for the next question.
type idleConn struct {
	conn  net.Conn
	since time.Time
}

func newRelay(enter func(func() error) error) *relay {
	return &relay{enter: enter, to: netip.AddrPortFrom(dockerAddr, 53), slots: make(chan struct{}, relayInFlight), streams: make(chan struct{}, relayStreams)}
}

// exchange asks Docker's resolver what a client asked, and returns its answer
// as it came.
func (r *relay) exchange(ctx context.Context, query []byte, by serve.Client, stream bool) ([]byte, error) {
	places := []chan struct{}{r.slots}
	if stream {
		places = append(places, r.streams)
	}
	for _, place := range places {
		select {
		case place <- struct{}{}:
			defer func() { <-place }()
		default:
			return nil, errBusy
		}
	}
	// A packet that may not leave is an error at once; a connection that may
	// not be made can look like one that takes long.
	if !stream {
		answer, err := r.try(ctx, query, func() (net.Conn, error) { return r.socket() }, r.keep)
		if !errors.Is(err, unix.EPERM) {
			return answer, err
		}
	}
	return r.try(ctx, query, func() (net.Conn, error) { return r.dial(stream, by) }, func(conn net.Conn) { conn.Close() })
}

// try opens a connection and asks over it. One that was answered goes to after,
// any other is closed.
func (r *relay) try(ctx context.Context, query []byte, open func() (net.Conn, error), after func(net.Conn)) ([]byte, error) {
	conn, err := open()
	if err != nil {
		return nil, fmt.Errorf("ask docker's resolver: %w", err)
	}
	conn.SetDeadline(time.Now().Add(relayBudget))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := ask(conn, query)
	if !stop() || err != nil {
		conn.Close()
	} else {
		after(conn)
	}
	if err != nil {
		return nil, fmt.Errorf("ask docker's resolver: %w", err)
	}
	return answer, nil
}

// ask sends one question and waits for the answer that has its id.
func ask(conn net.Conn, query []byte) ([]byte, error) {
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
		case hdr.Id == uint16(query[0])<<8|uint16(query[1]):
			return answer, nil
		}
	}
}

// socket returns a packet socket of our own: one that was used not long ago, or
// a new one.
func (r *relay) socket() (net.Conn, error) {
	if conn := r.fresh(); conn != nil {
		return conn, nil
	}
	return r.dial(false, serve.Client{})
}

// fresh returns a socket that was used not long ago, or nil.
func (r *relay) fresh() net.Conn {
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

// keep keeps a socket that was answered, to be used again.
func (r *relay) keep(conn net.Conn) {
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

// dial opens a socket inside the sandbox, at the address whose questions the
// rules leave alone: our own, or, of a client, its user's.
func (r *relay) dial(stream bool, by serve.Client) (conn net.Conn, err error) {
	from := netip.AddrPortFrom(relayAddr, 0)
	dialer := net.Dialer{Timeout: relayBudget, LocalAddr: net.UDPAddrFromAddrPort(from)}
	network := "udp4"
	if stream {
		network, dialer.LocalAddr = "tcp4", net.TCPAddrFromAddrPort(from)
	}
	entered := r.enter(func() error {
		uid := os.Geteuid()
		if by.IsValid() {
			if user, err := userOf(by); err == nil { // else it is gone, and nobody waits
				uid = user
			}
		}
		return asUser(uid, func() error {
			conn, err = dialer.Dial(network, r.to.String())
			return err
		})
	})
	return conn, entered
}

// userOf returns whose socket a client is. It must be called inside the
// sandbox.
func userOf(c serve.Client) (int, error) {
	table := "udp"
	if c.Stream {
		table = "tcp"
	}
	for _, family := range []string{"", "6"} {
		file, err := os.Open("/proc/thread-self/net/" + table + family)
		if err != nil {
			continue // no IPv6
		}
		uid, ok := findUser(bufio.NewScanner(file), c)
		file.Close()
		if ok {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("no socket at %s %s", table, c)
}

// findUser looks for the client in one of the kernel's tables of sockets, see
// proc(5).
func findUser(table *bufio.Scanner, c serve.Client) (uid int, ok bool) {
	const local, state, owner = 1, 3, 7
	const timeWait = "06" // nobody's any more, and shown as root's
	addr := c.Addr().Unmap().As4()
	bound := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(addr[:])) // IPv4 in IPv6 ends like it
	port := fmt.Sprintf("%04X", c.Port())
	for table.Scan() {
		fields := strings.Fields(table.Text())
		if len(fields) <= owner || c.Stream && fields[state] == timeWait {
			continue
		}
		at, p, _ := strings.Cut(fields[local], ":")
		if p != port || !strings.HasSuffix(at, bound) && strings.Trim(at, "0") != "" {
			continue
		}
		uid, err := strconv.Atoi(fields[owner])
		return uid, err == nil
	}
	return 0, false
}

// asUser runs f, which opens a socket, so that the socket is a user's: rules
// of the container that ask for the owner then judge it as that user's. The
// calling thread must be this call's own.
func asUser(uid int, f func() error) error {
	own, err := unix.SetfsuidRetUid(uid)
	if err != nil {
		return err
	}
	defer unix.SetfsuidRetUid(own)
	return f()
}
