package dns

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
)

const testSecret = "c2VjcmV0LW9mLXRoZS10ZXN0cw=="

// lanServer is an authoritative server that takes signed updates.
type lanServer struct {
	mu      sync.Mutex
	refuse  bool
	records map[string]bool
}

func (s *lanServer) ServeDNS(w miekg.ResponseWriter, q *miekg.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(miekg.Msg).SetReply(q)
	switch {
	case q.IsTsig() == nil || w.TsigStatus() != nil:
		m.Rcode = miekg.RcodeNotAuth
	case s.refuse:
		m.Rcode = miekg.RcodeServerFailure
	default:
		for _, rr := range q.Ns {
			record := rr.Header().Name + " " + strings.Fields(rr.String())[4]
			if rr.Header().Class == miekg.ClassNONE {
				delete(s.records, record)
			} else {
				s.records[record] = true
			}
		}
	}
	if q.IsTsig() != nil && w.TsigStatus() == nil {
		m.SetTsig("key.", miekg.HmacSHA256, 300, int64(q.IsTsig().TimeSigned))
	}
	w.WriteMsg(m)
}

func (s *lanServer) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.records))
}

// memory is Sent in a map.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) Put(key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[key] = value
	return nil
}

func (m *memory) Delete(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return nil
}

func (m *memory) Each(f func(string, []byte) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for key, value := range m.values {
		errs = append(errs, f(key, value))
	}
	return errors.Join(errs...)
}

func serveLAN(t *testing.T, s *lanServer) netip.AddrPort {
	t.Helper()
	packets, streams, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closeAll(packets, nil)
	server := &miekg.Server{
		Listener: streams[0], Handler: s, TsigSecret: map[string]string{"key.": testSecret},
		MsgAcceptFunc: func(miekg.Header) miekg.MsgAcceptAction { return miekg.MsgAccept },
	}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return netip.MustParseAddrPort(streams[0].Addr().String())
}

func newUpdater(t *testing.T, zone *Zone, lan *lanServer, sent Sent, log io.Writer) *Updater {
	t.Helper()
	c := UpdateConfig{Server: serveLAN(t, lan), Zone: "example.org", KeyName: "key", Secret: testSecret}
	u, err := NewUpdater(zone, c, sent, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUpdate(t *testing.T) {
	f := newFeed(t, ZoneConfig{Node: "h1"})
	f.define("lan1", "10.9.0.0/24")
	web := endpoint("h1", "lan1", "web", "10.9.0.1/24", v6("fd09::1/64"))
	web.Container.ID = ""
	f.start(web)
	f.start(endpoint("h2", "lan1", "web", "10.9.0.2/24")) // the other host's to push
	lan := &lanServer{records: map[string]bool{"web.lan1.example.org. 10.9.0.2": true}}
	sent := &memory{values: map[string][]byte{"old.lan1.example.org. 60 IN A 10.9.0.77": pushed}}
	lan.records["old.lan1.example.org. 10.9.0.77"] = true
	u := newUpdater(t, f.zone, lan, sent, t.Output())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	defer func() { cancel(); <-done }()
	expect := func(what string, want ...string) {
		t.Helper()
		eventually(t, what+": "+cmp.Diff(want, lan.all()), func() bool { return slices.Equal(lan.all(), want) })
	}
	other := "web.lan1.example.org. 10.9.0.2"
	expect("this host's names, and what a former run left behind gone",
		"web.lan1.example.org. 10.9.0.1", other, "web.lan1.example.org. fd09::1")
	web.IPv6 = ""
	f.start(web)
	expect("an address gone", "web.lan1.example.org. 10.9.0.1", other)
	lan.mu.Lock()
	lan.refuse = true
	lan.mu.Unlock()
	f.stop(web)
	eventually(t, "refused", func() bool { return u.push(t.Context()) != nil })
	lan.mu.Lock()
	lan.refuse = false
	lan.mu.Unlock()
	expect("the container gone, after the server came to its senses", other)
	eventually(t, "nothing is remembered", func() bool {
		sent.mu.Lock()
		defer sent.mu.Unlock()
		return len(sent.values) == 0
	})
}

// TestUpdateBeforeTheStoreAnswers is an agent that starts while etcd is away
// on a host whose containers run on.
func TestUpdateBeforeTheStoreAnswers(t *testing.T) {
	zone, err := NewZone(ZoneConfig{Node: "h1"})
	if err != nil {
		t.Fatal(err)
	}
	const web = "web.lan1.example.org. 10.9.0.1"
	lan := &lanServer{records: map[string]bool{web: true}}
	u := newUpdater(t, zone, lan, &memory{values: map[string][]byte{"web.lan1.example.org. 60 IN A 10.9.0.1": pushed}}, t.Output())
	push := func(what string, want ...string) {
		t.Helper()
		if err := u.push(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, lan.all()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	push("nothing is known", web)
	zone.ApplyNetworks(store.Change{Reset: true})
	push("the networks are known", web)
	changed := zone.Changed()
	zone.ApplyEndpoints(store.Change{Reset: true})
	select {
	case <-changed:
	default:
		t.Error("the updater is not woken by a list without endpoints")
	}
	push("there is no such container any more")
}

func TestBadUpdateConfig(t *testing.T) {
	server := netip.MustParseAddrPort("192.0.2.1:53")
	for name, c := range map[string]UpdateConfig{
		"no server":      {Zone: "example.org"},
		"no zone":        {Server: server},
		"key, no secret": {Server: server, Zone: "example.org", KeyName: "key"},
	} {
		if _, err := NewUpdater(nil, c, nil, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
