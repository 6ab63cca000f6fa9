package serve

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"gvlan/dns/zone"
)

// TestBatch sends more packets than one read takes before the first read: each
// is answered once or handed over, in order, also where another's answer
// cannot be sent.
func TestBatch(t *testing.T) {
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		t.Run(loopback, func(t *testing.T) {
			local := netip.MustParseAddr(loopback)
			asked := udpAt(t, local)
			client := udpAt(t, local)
			const count = 2*batchSize + 5
			for i := range count {
				if _, err := client.WriteToUDPAddrPort(fmt.Appendf(nil, "%d", i), addrPortOf(asked)); err != nil {
					t.Fatal(err)
				}
			}
			// Every third question is for the handler; the answer to every
			// seventh is more than a packet holds.
			number := func(packet []byte) (i int) { fmt.Sscan(string(packet), &i); return i }
			c := newBatchConn(asked, local, func(dst, packet []byte, from netip.AddrPort, _ uint32) ([]byte, bool) {
				if from != addrPortOf(client) {
					t.Errorf("a question came from %s, want %s", from, addrPortOf(client))
				}
				switch i := number(packet); {
				case i%3 == 0:
					return nil, false
				case i%7 == 0:
					return make([]byte, 1<<17), true
				}
				return append(append(dst, "re "...), packet...), true
			})
			var want, got []string
			buf := make([]byte, zone.UDPSize)
			for i := 0; i < count; i += 3 {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					t.Fatal(err)
				}
				if number(buf[:n]) != i {
					t.Fatalf("handed over %q, want %d", buf[:n], i)
				}
				if _, err := c.WriteTo(fmt.Appendf(nil, "later %d", i), from); err != nil {
					t.Fatal(err)
				}
			}
			for i := range count {
				switch {
				case i%3 == 0:
					want = append(want, fmt.Sprintf("later %d", i))
				case i%7 != 0:
					want = append(want, fmt.Sprintf("re %d", i))
				}
			}
			for range want {
				n, err := client.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(buf[:n]))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("answers:\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func udpAt(t *testing.T, local netip.Addr) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func addrPortOf(conn *net.UDPConn) netip.AddrPort {
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}
