package serve

import (
	"net"
	"net/netip"
	"testing"
)

// TestGreedyClient opens more connections than one client may hold, and
// then one of another client.
func TestGreedyClient(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := newLimited(inner)
	accepted := make(chan net.Conn, 2*tcpClient)
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			accepted <- conn
		}
	}()
	dial := func(from net.IP) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var greedy []net.Conn
	for range tcpClient + 1 {
		greedy = append(greedy, dial(net.IPv4(127, 0, 0, 2)))
	}
	if _, err := greedy[tcpClient].Read(make([]byte, 1)); err == nil {
		t.Error("one connection too many was not closed")
	}
	dial(net.IPv4(127, 0, 0, 3))
	held := make(map[string]int)
	var last net.Conn
	for range tcpClient + 1 {
		last = <-accepted
		held[streamClient(last).String()]++
	}
	if held["127.0.0.2"] != tcpClient || held["127.0.0.3"] != 1 {
		t.Errorf("connections held: %v", held)
	}
	last.Close()
	last.Close()
	if l.total != tcpClient {
		t.Errorf("%d places taken after one was given back, want %d", l.total, tcpClient)
	}
}

// TestQuotaOfAPrefix: a machine has any address of its /64, and a LAN is one.
func TestQuotaOfAPrefix(t *testing.T) {
	q := NewQuota(2, 6)
	for _, one := range []struct {
		addr string
		want bool
	}{
		{"fd00::1", true}, {"fd00::1", true}, {"fd00::1", false}, {"fd00::2", true}, {"fd00::3", false},
		{"fd00:0:0:1::1", true}, {"10.9.0.1", true}, {"10.9.0.2", true}, {"10.9.0.3", false},
	} {
		if got := q.Acquire(netip.MustParseAddr(one.addr)); got != one.want {
			t.Errorf("%s has a place: %v", one.addr, got)
		}
	}
	for _, addr := range []string{"fd00::1", "fd00::1", "fd00::2", "fd00:0:0:1::1", "10.9.0.1", "10.9.0.2"} {
		q.Release(netip.MustParseAddr(addr))
	}
	if q.total != 0 || len(q.client) != 0 {
		t.Errorf("%d places are taken, of %v", q.total, q.client)
	}
}

// TestOthersLeaveRoom: whatever the LAN holds, this host has places.
func TestOthersLeaveRoom(t *testing.T) {
	l := newLimited(nil)
	given := 0
	for i := range 2 * tcpTotal {
		if l.enter(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)})) {
			given++
		}
	}
	if given != tcpOthers {
		t.Errorf("others have %d places, want %d", given, tcpOthers)
	}
	host := netip.MustParseAddr("127.0.0.1")
	if !l.enter(host) {
		t.Error("this host has none")
	}
	l.leave(host)
	if l.leave(netip.AddrFrom4([4]byte{10, 9, 0, 1})); l.total != tcpOthers-1 || l.others.total != tcpOthers-1 {
		t.Errorf("after one is given back: %d, %d", l.total, l.others.total)
	}
}
