package serve

import (
	"net"
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
