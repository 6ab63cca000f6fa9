package listen_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/listen"
	"gvlan/dns/zone"
)

func forwarded(f *listen.Forwarder, name string) *miekg.Msg {
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), miekg.TypeA)
	return f.Resolve(context.Background(), q, zone.Asker{Recursion: true}, netip.Addr{})
}

func refuseAll(rcode int) func(w miekg.ResponseWriter, q *miekg.Msg) {
	return func(w miekg.ResponseWriter, q *miekg.Msg) { w.WriteMsg(new(miekg.Msg).SetRcode(q, rcode)) }
}

func TestFailover(t *testing.T) {
	silent := func(miekg.ResponseWriter, *miekg.Msg) {}
	for _, tt := range []struct {
		name  string
		first func(w miekg.ResponseWriter, q *miekg.Msg)
	}{
		{"fails", refuseAll(miekg.RcodeServerFailure)},
		{"refuses", refuseAll(miekg.RcodeRefused)},
		{"is silent", silent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, second := newUpstream(t, tt.first), newUpstream(t, says("192.0.2.2", 300))
			f := forwarder(t, first, second)
			if got := dnstest.Addresses(forwarded(f, "example.com")); len(got) != 1 || got[0] != "192.0.2.2" {
				t.Fatalf("got %v", got)
			}
		})
	}
	t.Run("a silent one is asked last from then on", func(t *testing.T) {
		first, second := newUpstream(t, silent), newUpstream(t, says("192.0.2.2", 300))
		f := forwarder(t, first, second)
		forwarded(f, "one.example")
		forwarded(f, "two.example")
		if n := first.asked.Load(); n != 1 {
			t.Errorf("the silent server was asked %d times, want once", n)
		}
	})
	t.Run("all fail", func(t *testing.T) {
		f := forwarder(t, newUpstream(t, refuseAll(miekg.RcodeServerFailure)), newUpstream(t, refuseAll(miekg.RcodeServerFailure)))
		if m := forwarded(f, "example.com"); m.Rcode != miekg.RcodeServerFailure {
			t.Errorf("got\n%v", m)
		}
	})
	t.Run("all failed the last time", func(t *testing.T) {
		f := forwarder(t, newUpstream(t, silent), newUpstream(t, silent))
		f.Fail()
		began := time.Now()
		m := forwarded(f, "example.com")
		if took := time.Since(began); m.Rcode != miekg.RcodeServerFailure || took > 2*time.Second {
			t.Errorf("after %s got\n%v\nwant SERVFAIL in half a second", took, m)
		}
	})
	t.Run("none is there", func(t *testing.T) {
		gone := newUpstream(t, silent)
		gone.stop()
		f := forwarder(t, gone)
		if m := forwarded(f, "example.com"); m.Rcode != miekg.RcodeServerFailure {
			t.Errorf("got\n%v", m)
		}
	})
}

// TestRecovery has a server come back that looks longer for a name which
// nobody has than a probe waits.
func TestRecovery(t *testing.T) {
	var healthy atomic.Bool
	first := newUpstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		if healthy.Load() && !strings.Contains(q.Question[0].Name, "loop-check") {
			says("192.0.2.1", 0)(w, q)
		}
	})
	f := forwarder(t, first, newUpstream(t, says("192.0.2.2", 0)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if got := dnstest.Addresses(forwarded(f, "example.com")); got[0] != "192.0.2.2" {
		t.Fatalf("got %v", got)
	}
	healthy.Store(true)
	dnstest.Eventually(t, "back to the preferred server", func() bool { return dnstest.Addresses(forwarded(f, "example.com"))[0] == "192.0.2.1" })
}

func TestTruncatedUpstream(t *testing.T) {
	up := newUpstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		if _, tcp := w.RemoteAddr().(*net.TCPAddr); tcp {
			says("192.0.2.7", 300)(w, q)
			return
		}
		m := new(miekg.Msg).SetReply(q)
		m.Truncated = true
		w.WriteMsg(m)
	})
	if got := dnstest.Addresses(forwarded(forwarder(t, up), "large.example")); len(got) != 1 || got[0] != "192.0.2.7" {
		t.Errorf("got %v, want what TCP says", got)
	}
}

// TestLoop gives the forwarder an upstream that sends everything back to
// the listener, in its own time.
func TestLoop(t *testing.T) {
	zone := dnstest.House(t).Zone
	var log dnstest.Log
	var back atomic.Pointer[netip.AddrPort] // nil: set right
	loop := newUpstream(t, func(w miekg.ResponseWriter, q *miekg.Msg) {
		to := back.Load()
		if to == nil {
			says("192.0.2.9", 0)(w, q)
			return
		}
		time.Sleep(1200 * time.Millisecond) // longer than a probe
		m, err := miekg.Exchange(q, to.String())
		if err != nil {
			m = new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure)
		}
		w.WriteMsg(m)
	})
	good := newUpstream(t, says("192.0.2.1", 0))
	f, err := listen.NewForwarder([]netip.AddrPort{loop.addr, good.addr}, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	own := serveListener(t, listen.New(listen.Config{Zone: zone, Forward: f}))
	back.Store(&own)
	f.CheckLoops(t.Context())
	asked := loop.asked.Load()
	if got := dnstest.Addresses(forwarded(f, "example.com")); len(got) != 1 || loop.asked.Load() != asked {
		t.Errorf("got %v, and the looping server was asked %d times more", got, loop.asked.Load()-asked)
	}
	if !strings.Contains(log.String(), loop.addr.String()) || strings.Contains(log.String(), good.addr.String()) {
		t.Errorf("log does not name the looping server, and it alone:\n%s", log.String())
	}
	back.Store(nil)
	f.CheckLoops(t.Context())
	if got := dnstest.Addresses(forwarded(f, "example.com")); got[0] != "192.0.2.9" {
		t.Errorf("after it was set right: got %v", got)
	}
	if _, err := listen.NewForwarder([]netip.AddrPort{own}, []netip.AddrPort{own}, slog.Default()); err == nil {
		t.Error("the agent's own listener was taken for an upstream")
	}
}
