package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/memberlist"
)

// nobody is a registry that knows nothing.
type nobody struct{}

func (nobody) Known() Known { return Known{} }

func (nobody) Changed() <-chan struct{} { return nil }

func TestTable(t *testing.T) {
	now := time.Unix(1000, 0)
	tb := newTable(func() time.Time { return now })
	at := netip.MustParseAddrPort("192.0.2.1:7947")
	before := func(e Event) [2]Standing { return [2]Standing{e.Before, e.Member.Standing} }
	steps := []struct {
		name  string
		event Event
		want  [2]Standing
	}{
		{"joins", tb.saw("a", at, Meta{}), [2]Standing{"", Alive}},
		{"updates", tb.saw("a", at, Meta{Gen: 1}), [2]Standing{Alive, Alive}},
		{"fails", tb.lost("a"), [2]Standing{Alive, Failed}},
		{"returns", tb.saw("a", at, Meta{Gen: 1}), [2]Standing{Failed, Alive}},
		{"says it leaves", tb.saw("a", at, Meta{Flags: Leaving}), [2]Standing{Alive, Left}},
		{"is gone after that", tb.lost("a"), [2]Standing{Left, Left}},
	}
	for _, step := range steps {
		if diff := cmp.Diff(step.want, before(step.event)); diff != "" {
			t.Errorf("a node that %s (-want +got):\n%s", step.name, diff)
		}
	}
	if tb.count() != 0 || tb.flapped() != 1 {
		t.Errorf("counted %d answering and %d flaps, want 0 and 1", tb.count(), tb.flapped())
	}
	tb.answered("nobody", time.Second, Ack{})
	tb.saw("b", at, Meta{})
	tb.answered("b", time.Second, Ack{Applied: 7})
	now = now.Add(forgetAfter + 1)
	want := []Member{{Node: "b", Address: at, Standing: Alive, Since: time.Unix(1000, 0), Ack: Ack{Applied: 7}, Direct: time.Unix(1000, 0), RTT: time.Second}}
	if diff := cmp.Diff(want, tb.list(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("an hour later (-want +got):\n%s", diff)
	}
}

func TestStrangers(t *testing.T) {
	now := time.Unix(0, 0)
	s := newStrangers(func() time.Time { return now })
	empty := Known{Fresh: true}
	registered := Known{Fresh: true, Nodes: map[string]Node{"a": {Registered: true}}}
	steps := []struct {
		name  string
		pass  time.Duration
		known Known
		want  bool
	}{
		{"at first", 0, empty, true},
		{"within the grace", strangerGrace - 1, empty, true},
		{"after the grace", 1, empty, false},
		{"while etcd is silent", 0, Known{}, true},
		{"after that, with a new grace", 0, empty, true},
		{"once registered", strangerGrace, registered, true},
	}
	for _, step := range steps {
		now = now.Add(step.pass)
		if got := s.welcome("a", step.known); got != step.want {
			t.Errorf("%s: welcome is %v, want %v", step.name, got, step.want)
		}
	}
}

// TestStreamsAreBounded: an address has a few streams at a time, and keeps no other out.
func TestStreamsAreBounded(t *testing.T) {
	own, err := newTransport(t.Context(), Config{Address: netip.MustParseAddr("127.0.0.1")}, log.New(io.Discard, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(own.GetAutoBindPort()))
	dial := func(last byte) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}).Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var taken []net.Conn
	for range maxOfOne {
		dial(2)
		taken = append(taken, <-own.StreamCh())
	}
	refused := func() {
		t.Helper()
		conn := dial(2)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // a guard, not a measure
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a stream that is one too many stands: %v", err)
		}
	}
	refused()
	dial(3)
	other := <-own.StreamCh()
	_, _ = taken[0].Close(), taken[0].Close() // its place is given back once
	dial(2)
	taken = append(taken, <-own.StreamCh())
	refused()
	dial(4) // is not taken by anybody, as the next
	dial(4)
	if err := own.Shutdown(); err != nil {
		t.Error(err)
	}
	for _, conn := range append(taken, other) {
		_ = conn.Close()
	}
	if own.all > 0 || len(own.from) > 0 {
		t.Errorf("%d places are held by %v", own.all, own.from)
	}
}

// TestStreamsOfALAN: all its IPv6 hosts are in one network, of which a stranger has
// any address.
func TestStreamsOfALAN(t *testing.T) {
	tr := &transport{from: map[netip.Prefix]int{}}
	at := func(last byte, network byte) sources {
		ip := net.ParseIP("fd00::")
		ip[7], ip[15] = network, last
		return sourcesOf(&net.TCPAddr{IP: ip})
	}
	for i := range maxOfLAN {
		if !tr.take(at(byte(i/maxOfOne), 0)) {
			t.Fatalf("stream %d of the LAN is refused", i)
		}
	}
	if tr.take(at(255, 0)) {
		t.Error("one stream too many of the LAN is taken")
	}
	if !tr.take(at(0, 1)) {
		t.Error("a stream of another network is refused")
	}
	tr.give(at(0, 0))
	if tr.take(at(1, 0)) {
		t.Error("one stream too many of an address is taken")
	}
	if !tr.take(at(0, 0)) {
		t.Error("a place that was given back is not taken")
	}
}

func TestCacheSurvivesRubbish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	c := &cache{path: path}
	if got, err := c.read(); err != nil || got.usable() {
		t.Errorf("no file reads as %+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.read(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("rubbish reads with %v", err)
	}
	want := origin{Cluster: "u", Keys: [][]byte{{1}}, Peers: []Seed{{Node: "a", Gossip: "192.0.2.1:7947"}}}
	if err := c.write(want); err != nil {
		t.Fatal(err)
	}
	if got, err := c.read(); err != nil || !cmp.Equal(want, got) {
		t.Errorf("read %+v, %v", got, err)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) != 0 {
		t.Errorf("left behind %v, %v", left, err)
	}
}

func TestPacketsFitTheMTU(t *testing.T) {
	tests := []struct{ mtu, want int }{{0, 1400}, {1500, 1400}, {9000, 1400}, {1420, 1320}}
	for _, test := range tests {
		c, err := Config{Node: "a", Registry: nobody{}, Address: netip.MustParseAddr("192.0.2.1"), MTU: test.mtu}.check()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.memberlist("u", nil).UDPBufferSize; got != test.want {
			t.Errorf("MTU %d gives packets of %d bytes, want %d", test.mtu, got, test.want)
		}
	}
}

// TestFullQueueIsCounted fills memberlist's queue of received messages.
func TestFullQueueIsCounted(t *testing.T) {
	counts := &counters{}
	var out bytes.Buffer
	ml := memberlist.DefaultLANConfig()
	ml.Name, ml.BindAddr, ml.BindPort, ml.AdvertisePort = "a", "127.0.0.1", 0, 0
	ml.HandoffQueueDepth = 0
	ml.Logger = newLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})), counts)
	list, err := memberlist.Create(ml)
	if err != nil {
		t.Fatal(err)
	}
	for counts.get().Dropped < 2 {
		if err := list.SendBestEffort(list.LocalNode(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := list.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "handler queue full"); n != 1 {
		t.Errorf("a lasting condition was logged %d times, want once:\n%s", n, out.String())
	}
}

// TestFewCallTheMissing holds the number of callers of a missing member to
// what join.go promises, whatever the size.
func TestFewCallTheMissing(t *testing.T) {
	const rounds = 2000
	for _, members := range []int{1, 2, 5, 50} {
		m, err := New(Config{Node: "a", Registry: nobody{}, Address: netip.MustParseAddr("192.0.2.1"), Rand: rand.New(rand.NewPCG(1, 2))})
		if err != nil {
			t.Fatal(err)
		}
		for i := range members {
			m.table.saw(fmt.Sprint(i), netip.AddrPort{}, Meta{})
		}
		calls := 0
		for range rounds * members {
			calls += len(m.chosen([]Seed{{Node: "missing"}}))
		}
		want := float64(min(members, rejoinCalls))
		if got := float64(calls) / rounds; got < want*0.9 || got > want*1.1 {
			t.Errorf("of %d members %.2f call a missing one, want %g", members, got, want)
		}
	}
}

func TestRingInstalls(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, keySize) }
	r, err := newRing([][]byte{key(1)})
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][][]byte{
		{key(1), key(2)}, {key(2), key(1)}, {key(2)}, {key(3), key(4)}, {key(5)},
	} {
		if err := r.install(keys); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(keys, r.keyring.GetKeys()); diff != "" {
			t.Errorf("installed (-want +got):\n%s", diff)
		}
		if r.id() != RingID(keys) {
			t.Errorf("acknowledges ring %d, want %d", r.id(), RingID(keys))
		}
	}
	if err := r.install([][]byte{[]byte("short")}); err == nil || r.id() != RingID([][]byte{key(5)}) {
		t.Errorf("a short key gives %v and ring %d", err, r.id())
	}
}
