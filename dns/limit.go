package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// limited is a listener that closes connections beyond what one client, or
// all of them, may hold, and gives up on clients that do not read: an idle
// or stalled client takes its own places and nobody else's.
type limited struct {
	net.Listener
	mu     sync.Mutex
	total  int
	client map[netip.Addr]int
}

func newLimited(l net.Listener) *limited {
	return &limited{Listener: l, client: make(map[netip.Addr]int)}
}

// Accept returns the next connection that is within the limits.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := streamClient(conn)
		if l.take(client) {
			return &limitedConn{Conn: conn, from: l, client: client}, nil
		}
		conn.Close()
	}
}

func (l *limited) take(client netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= tcpTotal || l.client[client] >= tcpClient {
		return false
	}
	l.total++
	l.client[client]++
	return true
}

func (l *limited) give(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.client[client]--; l.client[client] == 0 {
		delete(l.client, client)
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
	c.once.Do(func() { c.from.give(c.client) })
	return c.Conn.Close()
}

func streamClient(conn net.Conn) netip.Addr {
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return addr.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
