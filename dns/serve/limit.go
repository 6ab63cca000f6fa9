package serve

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Quota is how many places clients may hold at a time, each and all together.
type Quota struct {
	each, all int

	mu     sync.Mutex
	total  int
	client map[netip.Prefix]int // of addresses, and of the /64s that they are in
}

// NewQuota returns a quota with every place free: each for one client, all for
// all of them together. An IPv6 machine has as many addresses as it likes of its
// /64 (RFC 4291, 2.5.4), which on a LAN is everybody's: half of all are a /64's.
func NewQuota(each, all int) *Quota {
	return &Quota{each: each, all: all, client: make(map[netip.Prefix]int)}
}

// Acquire gives a client one more place, or returns false.
func (q *Quota) Acquire(client netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	address, network := sourcesOf(client)
	if q.total >= q.all || q.client[address] >= q.each || network.IsValid() && q.client[network] >= q.all/2 {
		return false
	}
	q.add(client, 1)
	return true
}

// Release gives back a place that Acquire gave.
func (q *Quota) Release(client netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(client, -1)
}

func (q *Quota) add(client netip.Addr, places int) {
	q.total += places
	address, network := sourcesOf(client)
	for _, of := range []netip.Prefix{address, network} {
		if of.IsValid() {
			q.client[of] += places
		}
		if q.client[of] == 0 {
			delete(q.client, of)
		}
	}
}

// sourcesOf are an address and, in IPv6 beyond this host's own, the /64 it is in.
func sourcesOf(client netip.Addr) (address, network netip.Prefix) {
	address = netip.PrefixFrom(client, client.BitLen())
	if client.Is6() && !client.IsLoopback() {
		const bits = 64
		network = netip.PrefixFrom(client, bits).Masked()
	}
	return address, network
}

// limited is a listener that closes connections beyond what one client, or
// all of them, may hold, and gives up on clients that do not read: an idle
// or stalled client takes its own places and nobody else's.
type limited struct {
	net.Listener
	*Quota
	others *Quota // of who is not on the loopback, besides
}

func newLimited(l net.Listener) *limited {
	return &limited{l, NewQuota(tcpClient, tcpTotal), NewQuota(tcpClient, tcpOthers)}
}

// Accept returns the next connection that is within the limits.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := streamClient(conn)
		if l.enter(client) {
			return &limitedConn{Conn: conn, from: l, client: client}, nil
		}
		conn.Close()
	}
}

// enter takes a place for a connection, or returns false.
func (l *limited) enter(client netip.Addr) bool {
	if client.IsLoopback() {
		return l.Acquire(client)
	}
	if !l.others.Acquire(client) {
		return false
	}
	if l.Acquire(client) {
		return true
	}
	l.others.Release(client)
	return false
}

// leave gives back what enter took.
func (l *limited) leave(client netip.Addr) {
	l.Release(client)
	if !client.IsLoopback() {
		l.others.Release(client)
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	from   *limited
	client netip.Addr
	once   sync.Once
}

// Write fails when the client does not read for a while.
func (c *limitedConn) Write(p []byte) (int, error) {
	c.Conn.SetWriteDeadline(time.Now().Add(tcpWrite))
	return c.Conn.Write(p)
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	c.once.Do(func() { c.from.leave(c.client) })
	return c.Conn.Close()
}

func streamClient(conn net.Conn) netip.Addr {
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return addr.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
