package listen

import (
	"net"
	"net/netip"
	"sync"
)

// Crowd is how many connections a listener has at a time. Who comes beyond that
// is closed at once: to wait is what others would be made to do by one who holds
// all there are.
type Crowd struct {
	All       int                   // of everybody
	Strangers int                   // of those together that are not Known
	Each      int                   // of one stranger; half of Strangers are a /64's, which on a LAN is everybody's
	Known     func(netip.Addr) bool // whose connections are many people's, or this host's own; nil: nobody's
}

// Limit is a listener with no more of them.
func (c Crowd) Limit(l net.Listener) net.Listener {
	return &crowded{Listener: l, Crowd: c, of: map[netip.Prefix]int{}}
}

// crowded is a listener whose connections are counted.
type crowded struct {
	net.Listener
	Crowd

	mu        sync.Mutex
	all       int
	strangers int
	of        map[netip.Prefix]int // strangers, by address and by /64
}

// Accept returns the next connection that there is a place for.
func (c *crowded) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr, known := c.source(conn)
		if c.enter(addr, known) {
			return &counted{Conn: conn, left: sync.OnceFunc(func() { c.leave(addr, known) })}, nil
		}
		conn.Close()
	}
}

// source is whose a connection is.
func (c *crowded) source(conn net.Conn) (addr netip.Addr, known bool) {
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	addr = at.AddrPort().Addr().Unmap().WithZone("")
	return addr, c.Known != nil && c.Known(addr)
}

// Source is what of an address one machine cannot choose at will: all of it, or the
// /64 it is in (RFC 4291, 2.5.4).
func Source(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		const network = 64
		bits = network
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

func (c *crowded) enter(addr netip.Addr, known bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.All || !known && (c.strangers >= c.Strangers || c.of[address(addr)] >= c.Each || addr.Is6() && c.of[Source(addr)] >= c.Strangers/2) {
		return false
	}
	c.add(addr, known, 1)
	return true
}

func (c *crowded) leave(addr netip.Addr, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(addr, known, -1)
}

func (c *crowded) add(addr netip.Addr, known bool, connections int) {
	c.all += connections
	if known {
		return
	}
	c.strangers += connections
	of := []netip.Prefix{address(addr)}
	if addr.Is6() {
		of = append(of, Source(addr))
	}
	for _, of := range of {
		if c.of[of] += connections; c.of[of] == 0 {
			delete(c.of, of)
		}
	}
}

// address is one address alone.
func address(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	left func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.left()
	return c.Conn.Close()
}
