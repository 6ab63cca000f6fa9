package listen_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/listen"
	"gvlan/dns/zone"
)

// TestAmplification floods the LAN's listener with questions of few bytes that
// have large answers, on the direct path and, with an option of EDNS0, on the
// other.
func TestAmplification(t *testing.T) {
	for _, option := range []bool{false, true} {
		f := dnstest.House(t)
		for i := range 60 {
			f.Start(dnstest.Endpoint("h3", "lan1", "many"+strconv.Itoa(i), dnstest.NthAddress(100+i)+"/16", dnstest.Alias("many")))
		}
		box := dnstest.NewSandbox(t)
		box.AddNetwork("lan", "10.55.0.1/24")
		for i := range 3 {
			box.Run("ip", "address", "add", fmt.Sprintf("10.55.0.%d/24", 10+i), "dev", "lan")
		}
		var packets []*net.UDPConn
		var streams []net.Listener
		box.Do(func() (err error) {
			packets, streams, err = listen.Open(t.Context(), "10.55.0.1:0")
			return err
		})
		l := listen.New(listen.Config{Zone: f.Zone, Allow: []netip.Prefix{netip.MustParsePrefix("10.55.0.0/24")}})
		server := serveOn(t, l, packets, streams)
		ask := func(from string) (in, out int, m *miekg.Msg) {
			var conn net.Conn
			box.Do(func() (err error) {
				conn, err = (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp4", server.String())
				return err
			})
			defer conn.Close()
			q := new(miekg.Msg).SetQuestion("many.lan1.gvlan.internal.", miekg.TypeA).SetEdns0(1232, false)
			if option {
				q.IsEdns0().Option = append(q.IsEdns0().Option, &miekg.EDNS0_NSID{Code: miekg.EDNS0NSID})
			}
			raw, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4096)
			conn.SetDeadline(time.Now().Add(time.Minute))
			if _, err := conn.Write(raw); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			m = new(miekg.Msg)
			if err := m.Unpack(buf[:n]); err != nil || m.Id != q.Id || !m.Response || len(m.Question) != 1 || m.IsEdns0() == nil {
				t.Fatalf("answer %v: %v", m, err)
			}
			return len(raw), n, m
		}
		if in, out, m := ask("10.55.0.10"); m.Truncated || out < 10*in {
			t.Fatalf("%d bytes are answered with %d: this shows nothing", in, out)
		}
		flooded := false
		for range 10_000 {
			in, out, m := ask("10.55.0.10")
			if m.Truncated {
				flooded = true
				if out > in || len(m.Answer) > 0 {
					t.Errorf("%d bytes are answered with %d and TC", in, out)
				}
				break
			}
		}
		if !flooded {
			t.Error("10,000 questions were answered in full")
		}
		if _, _, m := ask("10.55.0.11"); m.Truncated {
			t.Error("another client is cut short too")
		}
		if _, _, m := ask("10.55.0.1"); m.Truncated {
			t.Error("the host itself is cut short too")
		}
		box.Do(func() error {
			if m := dnstest.Query(t, "tcp", "10.55.0.10", server, "many.lan1.gvlan.internal", miekg.TypeA); len(m.Answer) != 60 {
				t.Errorf("over TCP %d records, want 60", len(m.Answer))
			}
			return nil
		})
	}
}

// TestForwardFlood: a client whose questions about the rest of the world all
// take long keeps no other from asking.
func TestForwardFlood(t *testing.T) {
	stop := make(chan struct{})
	quick := says("192.0.2.1", 60)
	up := newUpstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			<-stop
			return
		}
		quick(w, q)
	})
	defer close(stop)
	f := forwarder(t, up)
	ask := func(client netip.Addr, name string) *miekg.Msg {
		return f.Resolve(context.Background(), new(miekg.Msg).SetQuestion(name, miekg.TypeA), zone.Asker{Recursion: true}, client)
	}
	answered := make(chan bool, 2*listen.ForwardInFlight)
	for i := range 2 * listen.ForwardInFlight {
		go func() { ask(netip.MustParseAddr("10.9.0.1"), fmt.Sprintf("slow%d.example.", i)); answered <- true }()
	}
	for range listen.ForwardInFlight { // what has no place is answered at once
		<-answered
	}
	if got := dnstest.Addresses(ask(netip.MustParseAddr("10.9.0.2"), "quick.example.")); len(got) != 1 {
		t.Errorf("another client got %v", got)
	}
	if got := dnstest.Addresses(ask(netip.Addr{}, "own.example.")); len(got) != 1 {
		t.Errorf("the host got %v", got)
	}
}
