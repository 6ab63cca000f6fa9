package dnstest

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
)

// Golden compares with testdata/<name>.golden, or writes it anew.
func Golden(t *testing.T, anew bool, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if anew {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// Log is a log that can be read while it is written.
type Log struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Exchange asks for a name over a connection.
func Exchange(conn net.Conn, name string, qtype uint16, wait time.Duration) (*miekg.Msg, error) {
	wire := &miekg.Conn{Conn: conn, UDPSize: 4096}
	conn.SetDeadline(time.Now().Add(wait))
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), qtype)
	if err := wire.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		m, err := wire.ReadMsg()
		if err != nil || m.Id == q.Id {
			return m, err
		}
	}
}

// Eventually repeats a check until it holds; only the test's own deadline
// ends it.
func Eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not come about", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// First returns the first address of an answer, "" without one.
func First(m *miekg.Msg, err error) (string, error) {
	if err != nil || len(m.Answer) == 0 {
		return "", err
	}
	return Addresses(m)[0], nil
}

// Addresses returns the A and AAAA records of an answer, in order.
func Addresses(m *miekg.Msg) []string {
	var out []string
	if m == nil {
		return nil
	}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *miekg.A:
			out = append(out, rr.A.String())
		case *miekg.AAAA:
			out = append(out, rr.AAAA.String())
		}
	}
	return out
}

// Query asks a server from an address of the loopback.
func Query(t testing.TB, network, from string, server netip.AddrPort, name string, qtype uint16) *miekg.Msg {
	t.Helper()
	dialer := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial(network, server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m, err := Exchange(conn, name, qtype, 10*time.Second)
	if err != nil {
		t.Fatalf("%s %s: %v", name, miekg.TypeToString[qtype], err)
	}
	return m
}
