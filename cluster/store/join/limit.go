package join

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// How much strangers get of a door at a time.
const (
	maxConnections = 256 // in all
	maxOfOne       = 32  // from one address, or one IPv6 network of 64 bits
	maxChecks      = 8   // secrets that are being looked at
)

// wrongSecretCost is how long a wrong secret holds one of the checks.
const wrongSecretCost = time.Second

// limited is a listener that closes what is beyond the bounds at once, so that
// who only connects and waits keeps nobody else out.
type limited struct {
	net.Listener

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

func limit(l net.Listener) *limited {
	return &limited{Listener: l, from: map[netip.Prefix]int{}}
}

// Accept returns the next connection within the bounds.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(conn.RemoteAddr())
		if l.take(source) {
			return &counted{Conn: conn, release: sync.OnceFunc(func() { l.give(source) })}, nil
		}
		_ = conn.Close() // nothing was said on it
	}
}

func (l *limited) take(source netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConnections || l.from[source] >= maxOfOne {
		return false
	}
	l.all++
	l.from[source]++
	return true
}

func (l *limited) give(source netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.from[source]--; l.from[source] == 0 {
		delete(l.from, source)
	}
}

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// sourceOf is who is counted together. Whoever has one IPv6 address has a
// network of them.
func sourceOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	source, _ := ip.Prefix(bits)
	return source
}

// checks are the places in which secrets are looked at. A wrong one keeps its
// place for a while, whether or not who showed it waits: that bounds the
// guesses, and leaves the other places to those who know it.
type checks struct {
	places chan struct{}
	cost   time.Duration
}

func newChecks() *checks {
	return &checks{places: make(chan struct{}, maxChecks), cost: wrongSecretCost}
}

// run looks at a secret once there is a place. It returns early, with the error
// of ctx, only while it waits for one; door is what a wrong secret's cost ends
// with.
func (c *checks) run(ctx, door context.Context, right func() (bool, error)) (bool, error) {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-c.places }()
	ok, err := right()
	if err != nil || ok {
		return ok, err
	}
	timer := time.NewTimer(c.cost)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-door.Done():
	}
	return false, nil
}

// rareEvery is how often the log has what strangers can have said over and over.
const rareEvery = time.Minute

// rare is something that the log has once in rareEvery.
type rare struct {
	mu    sync.Mutex
	last  time.Time
	quiet int // since then
}

// met reports whether the log is to have it, and how often it was met since it had.
func (r *rare) met(now time.Time) (others int, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.last); !r.last.IsZero() && since >= 0 && since < rareEvery {
		r.quiet++
		return 0, false
	}
	others, r.last, r.quiet = r.quiet, now, 0
	return others, true
}
