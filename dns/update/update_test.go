package update_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/update"
	"gvlan/dns/zone"
)

const testSecret = "c2VjcmV0LW9mLXRoZS10ZXN0cw=="

// lanServer is an authoritative server that takes signed updates.
type lanServer struct {
	mu      sync.Mutex
	refuse  bool
	never   string // refuses a message with this record
	refused int    // such messages
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
	case slices.ContainsFunc(q.Ns, func(rr miekg.RR) bool { return recordOf(rr) == s.never }):
		m.Rcode = miekg.RcodeRefused
		s.refused++
	default:
		for _, rr := range q.Ns {
			record := recordOf(rr)
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

func recordOf(rr miekg.RR) string { return rr.Header().Name + " " + strings.Fields(rr.String())[4] }

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
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &miekg.Server{
		Listener: stream, Handler: s, TsigSecret: map[string]string{"key.": testSecret},
		MsgAcceptFunc: func(miekg.Header) miekg.MsgAcceptAction { return miekg.MsgAccept },
	}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return netip.MustParseAddrPort(stream.Addr().String())
}

func newUpdater(t *testing.T, zone *zone.Zone, lan *lanServer, sent update.Sent, log io.Writer) *update.Updater {
	t.Helper()
	c := update.Config{Server: serveLAN(t, lan), Zone: "example.org", KeyName: "key", Secret: testSecret}
	u, err := update.New(zone, c, sent, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUpdate(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	web := dnstest.Endpoint("h1", "lan1", "web", "10.9.0.1/24", dnstest.V6("fd09::1/64"))
	web.Container.ID = ""
	f.Start(web)
	f.Start(dnstest.Endpoint("h2", "lan1", "web", "10.9.0.2/24")) // the other host's to push
	lan := &lanServer{records: map[string]bool{"web.lan1.example.org. 10.9.0.2": true}}
	sent := &memory{values: map[string][]byte{"old.lan1.example.org. 60 IN A 10.9.0.77": update.Pushed()}}
	lan.records["old.lan1.example.org. 10.9.0.77"] = true
	u := newUpdater(t, f.Zone, lan, sent, t.Output())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	defer func() { cancel(); <-done }()
	expect := func(what string, want ...string) {
		t.Helper()
		dnstest.Eventually(t, what+": "+cmp.Diff(want, lan.all()), func() bool { return slices.Equal(lan.all(), want) })
	}
	other := "web.lan1.example.org. 10.9.0.2"
	expect("this host's names, and what a former run left behind gone",
		"web.lan1.example.org. 10.9.0.1", other, "web.lan1.example.org. fd09::1")
	web.IPv6 = ""
	f.Start(web)
	expect("an address gone", "web.lan1.example.org. 10.9.0.1", other)
	lan.mu.Lock()
	lan.refuse = true
	lan.mu.Unlock()
	f.Stop(web)
	dnstest.Eventually(t, "refused", func() bool { return u.Push(t.Context()) != nil })
	lan.mu.Lock()
	lan.refuse = false
	lan.mu.Unlock()
	expect("the container gone, after the server came to its senses", other)
	dnstest.Eventually(t, "nothing is remembered", func() bool {
		sent.mu.Lock()
		defer sent.mu.Unlock()
		return len(sent.values) == 0
	})
}

// TestUpdateBeforeTheStoreAnswers is an agent that starts while etcd is away
// on a host whose containers run on.
func TestUpdateBeforeTheStoreAnswers(t *testing.T) {
	zone, err := zone.New(zone.Config{Node: "h1"})
	if err != nil {
		t.Fatal(err)
	}
	const web = "web.lan1.example.org. 10.9.0.1"
	lan := &lanServer{records: map[string]bool{web: true}}
	u := newUpdater(t, zone, lan, &memory{values: map[string][]byte{"web.lan1.example.org. 60 IN A 10.9.0.1": update.Pushed()}}, t.Output())
	push := func(what string, want ...string) {
		t.Helper()
		if err := u.Push(t.Context()); err != nil {
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

// TestUpdateOfWhatCannotBeWritten has a container whose name fits in the DNS
// by itself, but not below its network and the server's zone.
func TestUpdateOfWhatCannotBeWritten(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	name := strings.Repeat(strings.Repeat("a", 60)+".", 3) + strings.Repeat("a", 60)
	long, web := dnstest.Endpoint("h1", "lan1", name, "10.9.0.9/24"), dnstest.Endpoint("h1", "lan1", "web", "10.9.0.1/24")
	long.Container.ID, web.Container.ID = "", ""
	f.Start(long)
	f.Start(web)
	lan := &lanServer{records: map[string]bool{}}
	// A former agent noted it before it found out.
	sent := &memory{values: map[string][]byte{name + ".old.example.org. 60 IN A 10.9.0.9": update.Pushing()}}
	var log dnstest.Log
	u := newUpdater(t, f.Zone, lan, sent, &log)
	for range 3 {
		if err := u.Push(t.Context()); err != nil {
			t.Fatalf("one name that is too long stops the others: %v", err)
		}
	}
	if diff := cmp.Diff([]string{"web.lan1.example.org. 10.9.0.1"}, lan.all()); diff != "" {
		t.Errorf("the server has (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"web.lan1.example.org. 60 IN A 10.9.0.1"}, slices.Collect(maps.Keys(sent.values))); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, log.String())
	}
}

// TestUpdateWithARefusedRecord has a server that takes all records but one,
// which is in the first of several batches.
func TestUpdateWithARefusedRecord(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	start := func(name, addr string) {
		e := dnstest.Endpoint("h1", "lan1", name, addr)
		e.Container.ID = ""
		f.Start(e)
	}
	start("bad", "10.9.0.254/24")
	for i := range 2 * update.Batch {
		start(fmt.Sprintf("web%d", i), fmt.Sprintf("10.9.0.%d/24", i+1))
	}
	const bad = "bad.lan1.example.org. 10.9.0.254"
	lan := &lanServer{records: map[string]bool{}, never: bad}
	u := newUpdater(t, f.Zone, lan, &memory{values: map[string][]byte{}}, t.Output())
	push := func(want int) {
		t.Helper()
		if err := u.Push(t.Context()); err == nil {
			t.Error("a record the server refuses counts as pushed")
		}
		if got := len(lan.all()); got != want {
			t.Errorf("the server has %d records, want %d", got, want)
		}
	}
	push(2 * update.Batch)
	start("late", "10.9.0.200/24")
	push(2*update.Batch + 1)
	lan.mu.Lock()
	if lan.refused != 2 {
		t.Errorf("the server refused %d messages, want the first batch and its bad record", lan.refused)
	}
	lan.never = ""
	lan.mu.Unlock()
	for i := 0; !slices.Contains(lan.all(), bad); i++ {
		if i > update.Rest {
			t.Fatal("a refused record is never tried again")
		}
		u.Push(t.Context())
	}
}

// TestUpdateGoesOnAfterABatch has a store of what was pushed that fails for
// a record of the first batch.
func TestUpdateGoesOnAfterABatch(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	for i := range update.Batch + 1 {
		e := dnstest.Endpoint("h1", "lan1", fmt.Sprintf("web%02d", i), fmt.Sprintf("10.9.0.%d/24", i+1))
		e.Container.ID = ""
		f.Start(e)
	}
	lan := &lanServer{records: map[string]bool{}}
	u := newUpdater(t, f.Zone, lan, &failing{memory{values: map[string][]byte{}}}, t.Output())
	if err := u.Push(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	want := fmt.Sprintf("web%d.lan1.example.org. 10.9.0.%d", update.Batch, update.Batch+1)
	if diff := cmp.Diff([]string{want}, lan.all()); diff != "" {
		t.Errorf("the server has (-want +got):\n%s", diff)
	}
}

var errDisk = errors.New("no space left")

// failing is Sent that cannot take what begins with web00.
type failing struct{ memory }

func (f *failing) Put(key string, value []byte) error {
	if strings.HasPrefix(key, "web00.") {
		return errDisk
	}
	return f.memory.Put(key, value)
}

// TestUpdateSpelling: servers refuse addresses at names with "_", so what is
// pushed is folded.
func TestUpdateSpelling(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	f.Start(dnstest.Endpoint("h1", "lan1", "x_1", "10.9.0.1/24", dnstest.Exposed("80/tcp")))
	f.Start(dnstest.Endpoint("h2", "lan1", "x-1", "10.9.0.2/24", dnstest.Exposed("80/tcp")))
	f.Start(dnstest.Endpoint("h3", "lan1", "X_1", "10.9.0.3/24"))
	f.Start(dnstest.Endpoint("h2", "lan1", "other_one", "10.9.0.4/24", dnstest.Alias("_svc"), dnstest.Alias("X_2")))
	u, err := update.New(f.Zone, update.Config{Server: netip.MustParseAddrPort("192.0.2.1:53"), Zone: "gvlan.internal"}, nil, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Wanted(); !slices.Contains(got, "x-1.lan1.gvlan.internal. 60 IN A 10.9.0.1") || strings.Contains(strings.Join(got, " "), "_") {
		t.Errorf("another server is told %q", got)
	}
}

func TestBadUpdateConfig(t *testing.T) {
	server := netip.MustParseAddrPort("192.0.2.1:53")
	for name, c := range map[string]update.Config{
		"no server":      {Zone: "example.org"},
		"no zone":        {Server: server},
		"key, no secret": {Server: server, Zone: "example.org", KeyName: "key"},
	} {
		if _, err := update.New(nil, c, nil, nil); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestUpdateOfHostileNames: a server is told of names, and of nothing else that
// somebody calls a container.
func TestUpdateOfHostileNames(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	for i, text := range dnstest.Hostile() {
		f.Start(dnstest.Endpoint("h1", "lan1", text, dnstest.NthAddress(i)+"/24", dnstest.Alias(text), dnstest.Label("gvlan.txt", text)))
	}
	f.Start(dnstest.Endpoint("h1", "lan1", "web", "10.9.0.200/24"))
	lan := &lanServer{records: map[string]bool{}}
	u := newUpdater(t, f.Zone, lan, &memory{values: map[string][]byte{}}, t.Output())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	defer func() { cancel(); <-done }()
	dnstest.Eventually(t, "the server is told", func() bool { return slices.Contains(lan.all(), "web.lan1.example.org. 10.9.0.200") })
	for _, record := range lan.all() {
		name, address, found := strings.Cut(record, " ")
		at, err := netip.ParseAddr(address)
		if !found || err != nil || !strings.HasPrefix(at.String(), "10.9.") || !nameForm.MatchString(name) {
			t.Errorf("the server is told %q", record)
		}
	}
}

// nameForm is what a name has that a server of others is told.
var nameForm = regexp.MustCompile(`^[a-z0-9._-]+\.lan1\.example\.org\.$`)
