package listen_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/listen"
)

// serveListener runs a listener on a port of the loopback and returns its
// address.
func serveListener(t testing.TB, l *listen.Listener) netip.AddrPort {
	t.Helper()
	packets, streams := opened(t)
	return serveOn(t, l, packets, streams)
}

func serveOn(t testing.TB, l *listen.Listener, packets []*net.UDPConn, streams []net.Listener) netip.AddrPort {
	t.Helper()
	at := streams[0].Addr().(*net.TCPAddr).AddrPort()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, packets, streams) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return at
}

func TestListener(t *testing.T) {
	f := dnstest.House(t)
	server := serveListener(t, listen.New(listen.Config{Zone: f.Zone}))
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range []struct {
			name  string
			qtype uint16
			rcode int
			want  int
		}{
			{"web.lan1.gvlan.internal", miekg.TypeA, 0, 1},
			{"WEB.proj_lan.gvlan.internal", miekg.TypeA, 0, 1},
			{"web.lan1.gvlan.internal", miekg.TypeTXT, 0, 1},
			{"10.0.9.10.in-addr.arpa", miekg.TypePTR, 0, 1},
			{"gvlan.internal", miekg.TypeSOA, 0, 1},
			{"nobody.lan1.gvlan.internal", miekg.TypeA, miekg.RcodeNameError, 0},
			{"99.0.9.10.in-addr.arpa", miekg.TypePTR, miekg.RcodeNameError, 0},
			{"gvlan.internal", miekg.TypeAXFR, miekg.RcodeRefused, 0},
			{"web", miekg.TypeA, miekg.RcodeRefused, 0},
			{"web.lan1", miekg.TypeA, miekg.RcodeRefused, 0},
			{"example.com", miekg.TypeA, miekg.RcodeRefused, 0},
			{"1.2.0.192.in-addr.arpa", miekg.TypePTR, miekg.RcodeRefused, 0},
		} {
			m := dnstest.Query(t, network, "127.0.0.1", server, tt.name, tt.qtype)
			if m.Rcode != tt.rcode || len(m.Answer) != tt.want {
				t.Errorf("%s %s %s: want %s and %d records, got\n%v",
					network, tt.name, miekg.TypeToString[tt.qtype], miekg.RcodeToString[tt.rcode], tt.want, m)
			}
			if m.RecursionAvailable {
				t.Errorf("%s: offers recursion without an upstream", tt.name)
			}
		}
	}
	counts := make(map[string]map[string]uint64)
	for _, c := range f.Zone.Counts() {
		counts[c.Zone] = make(map[string]uint64)
		c.Codes(func(code string, n uint64) { counts[c.Zone][code] = n })
	}
	for _, want := range []struct {
		zone, code string
		n          uint64
	}{{"lan1", "NOERROR", 6}, {"lan1", "NXDOMAIN", 2}, {"proj-lan", "NOERROR", 2}, {"reverse", "NXDOMAIN", 2}, {".", "NOERROR", 2}, {".", "REFUSED", 2}, {"passed", "REFUSED", 8}} {
		if got := counts[want.zone][want.code]; got != want.n {
			t.Errorf("counted %d %s in zone %s, want %d", got, want.code, want.zone, want.n)
		}
	}
}

// TestListenerAccess asks from addresses of a sandbox: one of the LAN that
// may ask, one that may not, and one that is a container's.
func TestListenerAccess(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t)
	box.AddNetwork("lan", "10.9.0.1/24")
	for _, addr := range []string{"10.9.0.10/24", "10.9.0.99/24", "10.55.0.1/24"} {
		box.Run("ip", "address", "add", addr, "dev", "lan")
	}
	var packets []*net.UDPConn
	var streams []net.Listener
	box.Do(func() (err error) {
		packets, streams, err = listen.Open(t.Context(), "10.9.0.1:0")
		return err
	})
	server := serveOn(t, listen.New(listen.Config{Zone: f.Zone, Allow: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}}), packets, streams)
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range []struct {
			what, from, name string
			rcode, want      int
		}{
			{"the host itself", "10.9.0.1", "web.proj-lan.gvlan.internal", 0, 1},
			{"a neighbour on the LAN", "10.9.0.99", "web.proj-lan.gvlan.internal", 0, 1},
			{"somebody else", "10.55.0.1", "web.lan1.gvlan.internal", miekg.RcodeRefused, 0},
			{"a container, its own network", "10.9.0.10", "db.lan1.gvlan.internal", 0, 1},
			{"a container, another network", "10.9.0.10", "web.proj-lan.gvlan.internal", miekg.RcodeNameError, 0},
			{"a container, another network's address", "10.9.0.10", "7.3.8.10.in-addr.arpa", miekg.RcodeNameError, 0},
		} {
			var m *miekg.Msg
			box.Do(func() error { m = dnstest.Query(t, network, tt.from, server, tt.name, miekg.TypeA); return nil })
			if m.Rcode != tt.rcode || len(m.Answer) != tt.want {
				t.Errorf("%s over %s: want %s and %d records, got\n%v", tt.what, network, miekg.RcodeToString[tt.rcode], tt.want, m)
			}
		}
	}
}

// TestListenerOnTwoAddresses serves two addresses with one listener, as
// --dns-listen with two does: for the race detector, and each is this host's.
func TestListenerOnTwoAddresses(t *testing.T) {
	box := dnstest.NewSandbox(t)
	box.AddNetwork("lan", "10.9.0.1/24")
	box.Run("ip", "address", "add", "10.9.0.2/24", "dev", "lan")
	l := listen.New(listen.Config{Zone: dnstest.House(t).Zone})
	for _, addr := range []string{"10.9.0.1", "10.9.0.2"} {
		var packets []*net.UDPConn
		var streams []net.Listener
		box.Do(func() (err error) {
			packets, streams, err = listen.Open(t.Context(), addr+":0")
			return err
		})
		server := serveOn(t, l, packets, streams)
		box.Do(func() error {
			dnstest.Eventually(t, addr+" asks "+addr, func() bool {
				return dnstest.Query(t, "udp", addr, server, "web.lan1.gvlan.internal", miekg.TypeA).Rcode == miekg.RcodeSuccess
			})
			return nil
		})
	}
}

func TestBadListenAddress(t *testing.T) {
	for _, addr := range []string{"localhost:53", "127.0.0.1", ":53"} {
		if _, _, err := listen.Open(t.Context(), addr); err == nil || !strings.Contains(err.Error(), "such as") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

// fakeUpstream is a server of the outside world on the loopback.
type fakeUpstream struct {
	addr  netip.AddrPort
	asked atomic.Int32
	udp   *miekg.Server
	tcp   *miekg.Server
}

// opened listens at a port that is free for both protocols: the kernel gives one
// that is for the first only.
func opened(t testing.TB) (packets []*net.UDPConn, streams []net.Listener) {
	t.Helper()
	for range 100 {
		packets, streams, err := listen.Open(t.Context(), "127.0.0.1:0")
		if err == nil {
			return packets, streams
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatal("no port of 100 is free for both UDP and TCP")
	return nil, nil
}

func newUpstream(t testing.TB, serve func(w miekg.ResponseWriter, q *miekg.Msg)) *fakeUpstream {
	t.Helper()
	u := new(fakeUpstream)
	packets, streams := opened(t)
	for _, more := range packets[1:] {
		more.Close()
	}
	u.addr = streams[0].Addr().(*net.TCPAddr).AddrPort()
	handler := miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { u.asked.Add(1); serve(w, q) })
	u.udp, u.tcp = &miekg.Server{PacketConn: packets[0], Handler: handler}, &miekg.Server{Listener: streams[0], Handler: handler}
	for _, server := range []*miekg.Server{u.udp, u.tcp} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
	}
	t.Cleanup(u.stop)
	return u
}

func (u *fakeUpstream) stop() { u.udp.Shutdown(); u.tcp.Shutdown() }

// says answers every question with an address.
func says(addr string, ttl uint32) func(w miekg.ResponseWriter, q *miekg.Msg) {
	return func(w miekg.ResponseWriter, q *miekg.Msg) {
		m := new(miekg.Msg).SetReply(q)
		m.Answer = append(m.Answer, &miekg.A{
			Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: ttl}, A: net.ParseIP(addr)})
		w.WriteMsg(m)
	}
}

func forwarder(t testing.TB, upstreams ...*fakeUpstream) *listen.Forwarder {
	t.Helper()
	var addrs []netip.AddrPort
	for _, u := range upstreams {
		addrs = append(addrs, u.addr)
	}
	f, err := listen.NewForwarder(addrs, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestForward(t *testing.T) {
	f := dnstest.House(t)
	up := newUpstream(t, says("192.0.2.1", 300))
	server := serveListener(t, listen.New(listen.Config{Zone: f.Zone, Forward: forwarder(t, up)}))
	for _, network := range []string{"udp", "tcp"} {
		m := dnstest.Query(t, network, "127.0.0.1", server, "Example.com", miekg.TypeA)
		if got := dnstest.Addresses(m); len(got) != 1 || got[0] != "192.0.2.1" || !m.RecursionAvailable || m.Authoritative {
			t.Errorf("%s:\n%v", network, m)
		}
		if m.Question[0].Name != "Example.com." || m.Answer[0].Header().Name != "Example.com." {
			t.Errorf("the case the client wrote was lost:\n%v", m)
		}
	}
	asked := up.asked.Load()
	for _, name := range []string{"nobody.gvlan.internal", "gvlan.internal", "web.lan9.gvlan.internal", "nobody.lan1.gvlan.internal"} {
		dnstest.Query(t, "udp", "127.0.0.1", server, name, miekg.TypeA)
	}
	if n := up.asked.Load(); n != asked {
		t.Error("a name below the domain went upstream")
	}
	if got := dnstest.Addresses(dnstest.Query(t, "udp", "127.0.0.1", server, "99.0.9.10.in-addr.arpa", miekg.TypePTR)); len(got) != 1 {
		t.Errorf("the reverse name of a device of the LAN did not go upstream: %v", got)
	}
}
