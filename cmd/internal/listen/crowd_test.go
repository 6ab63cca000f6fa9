package listen

import (
	"net"
	"net/netip"
	"testing"
)

// TestCrowd has one machine take all it gets, many machines together, and then
// somebody who is known; a place that is given back is another's.
func TestCrowd(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := netip.MustParseAddr("127.0.0.9")
	c := Crowd{All: 6, Strangers: 4, Each: 2, Known: func(a netip.Addr) bool { return a == proxy }}.Limit(inner).(*crowded)
	defer c.Close()
	accepted := make(chan net.Conn, 64)
	go func() {
		for conn, err := c.Accept(); err == nil; conn, err = c.Accept() {
			accepted <- conn
		}
	}()
	dial := func(last byte) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}).Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	in := func(last byte) net.Conn {
		t.Helper()
		dial(last)
		return <-accepted
	}
	out := func(last byte) {
		t.Helper()
		if _, err := dial(last).Read(make([]byte, 1)); err == nil {
			t.Errorf("127.0.0.%d was sent something", last)
		}
		if len(accepted) > 0 {
			t.Fatalf("127.0.0.%d has a place too many", last)
		}
	}
	in(2)
	given := in(2)
	out(2)
	in(3)
	in(4)
	out(5)
	in(9)
	in(9)
	out(9)
	given.Close()
	given.Close()
	in(5)
	out(2)
}

// TestCrowdOfALAN: all of its IPv6 machines are in one /64, of which one of them has
// any address.
func TestCrowdOfALAN(t *testing.T) {
	c := Crowd{All: 8, Strangers: 8, Each: 2}.Limit(nil).(*crowded)
	in := []string{"fd00::1", "fd00::1", "fd00::2", "fd00::3", "fd00:0:0:1::1", "10.9.0.1", "10.9.0.1", "10.9.0.2"}
	for _, one := range in {
		if !c.enter(netip.MustParseAddr(one), false) {
			t.Errorf("%s has no place", one)
		}
		if one == "fd00::3" {
			for _, other := range []string{"fd00::1", "fd00::4"} {
				if c.enter(netip.MustParseAddr(other), false) {
					t.Errorf("%s has a place too many", other)
				}
			}
		}
	}
	for _, one := range in {
		c.leave(netip.MustParseAddr(one), false)
	}
	if c.all != 0 || c.strangers != 0 || len(c.of) != 0 {
		t.Errorf("%d and %d places are taken, of %v", c.all, c.strangers, c.of)
	}
}

func TestSource(t *testing.T) {
	for addr, want := range map[string]string{
		"10.9.0.1": "10.9.0.1/32", "fd00::9:1:2:3:4": "fd00:0:0:9::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Source(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
	if got := Source(netip.Addr{}); got.IsValid() {
		t.Errorf("no address counts as %s", got)
	}
}
