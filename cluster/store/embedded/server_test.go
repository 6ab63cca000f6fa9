package embedded_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

var discard = slog.New(slog.DiscardHandler)

// running is a server at work.
type running struct {
	*embedded.Server
	stop func() error // ends Run and returns its error
	done chan error
}

// start makes and runs a server; it is stopped when the test ends.
func start(t *testing.T, c embedded.Config) *running {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	server, err := embedded.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Server: server, done: make(chan error, 1)}
	go func() { r.done <- server.Run(ctx) }()
	r.stop = func() error {
		cancel()
		err := <-r.done
		r.done <- err
		return err
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// ready waits until the server answers.
func (r *running) ready(t *testing.T) *running {
	t.Helper()
	select {
	case <-r.Ready():
	case err := <-r.done:
		r.done <- err
		t.Fatalf("Run: %v", err)
	}
	return r
}

// fails waits for Run's error.
func (r *running) fails(t *testing.T) error {
	t.Helper()
	select {
	case <-r.Ready():
		t.Fatal("the server runs")
	case err := <-r.done:
		r.done <- err
		return err
	}
	return nil
}

// client connects to a server.
func client(t *testing.T, c etcd.Config) *etcd.Client {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	c.Attempt = time.Minute // the machine may be busy
	made, err := etcd.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	return made
}

func put(t *testing.T, kv store.KV, key string) {
	t.Helper()
	if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(key, []byte("x"))}}); err != nil {
		t.Fatal(err)
	}
}

func TestDataOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "on", "the", "way")
	first := start(t, embedded.Config{Dir: dir}).ready(t)
	put(t, client(t, etcd.Config{Endpoints: []string{first.Endpoint()}}), "/k")
	if err := first.stop(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	second := start(t, embedded.Config{Dir: dir}).ready(t)
	if _, err := client(t, etcd.Config{Endpoints: []string{second.Endpoint()}}).Get(t.Context(), "/k"); err != nil {
		t.Fatal(err)
	}
}

func TestSecondServerOnOneDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir}).ready(t)
	err := start(t, embedded.Config{Dir: dir}).fails(t)
	for _, want := range []string{dir, "process " + strconv.Itoa(os.Getpid())} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("Run: %v, want an error with %q", err, want)
		}
	}
}

func TestTakenAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	of := etcdtest.NewAuthority(t)
	c := of.Member(t, of.Identity(t, "a", true), "a")
	free := c.Listen
	c.Listen = netip.MustParseAddrPort(address)
	err = start(t, c).fails(t)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) {
		t.Fatalf("Run: %v, want that %s is taken", err, address)
	}
	c.Listen = free // the failed start left the directory usable
	start(t, c).ready(t)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	address, every := netip.MustParseAddrPort("192.0.2.1:2379"), netip.MustParseAddrPort("0.0.0.0:2379")
	for _, c := range []struct {
		name   string
		config embedded.Config
		want   string
	}{
		{"no peer port", embedded.Config{Listen: address}, "192.0.2.1"},
		{"port 0", embedded.Config{Listen: netip.AddrPortFrom(address.Addr(), 0), Peer: address}, "192.0.2.1"},
		{"no address to tell others", embedded.Config{Listen: every, Peer: every}, "0.0.0.0"},
		{"alone with members", embedded.Config{Others: map[string]string{"b": "https://192.0.2.1:2380"}}, "no address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Dir = filepath.Join(t.TempDir(), "dir")
			if _, err := embedded.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("New: %v, want an error with %q", err, c.want)
			}
			if _, err := os.Stat(c.config.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("a refused configuration made its directory: %v", err)
			}
		})
	}
}

// Ended before it began, and right after: Run returns in both cases.
func TestRunIsCancellable(t *testing.T) {
	t.Parallel()
	server, err := embedded.New(embedded.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.Run(ctx); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

// A watch that is open when the server stops is ended by it: etcd alone would
// wait 7 s for it, on each listener.
func TestStopEndsWatches(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.Config{Dir: t.TempDir()}).ready(t)
	kv := client(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	put(t, kv, "/k")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a guard, not a measure
	defer cancel()
	watching, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		var last error
		for batch, err := range kv.Watch(ctx, store.Prefix("/"), 1) {
			if last = err; len(batch.Events) > 0 {
				watching <- struct{}{}
			}
		}
		ended <- last
	}()
	<-watching
	if err := server.stop(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if err := <-ended; !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Watch: %v, want ErrUnavailable", err)
	}
}

// Both ways: a node of the cluster talks to the server, others do not get far
// enough to say anything. The peers' port is for members.
func TestWhoMayConnect(t *testing.T) {
	t.Parallel()
	of, foreign := etcdtest.NewAuthority(t), etcdtest.NewAuthority(t)
	member := of.Identity(t, "a", true)
	c := of.Member(t, member, "a")
	start(t, c).ready(t)
	shake := func(to netip.AddrPort, config *tls.Config) error {
		config.NextProtos = []string{"h2"}
		conn, err := tls.Dial("tcp", to.String(), config)
		if err != nil {
			return err
		}
		defer conn.Close()
		// With TLS 1.3 the server's verdict on the client arrives with the
		// first read.
		said := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		if to == c.Peer {
			said = "GET /version HTTP/1.1\r\nHost: a\r\n\r\n"
		}
		if _, err := conn.Write([]byte(said)); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	node := of.Identity(t, "node", false)
	pair, err := tls.LoadX509KeyPair(c.Files.Cert, c.Files.Key)
	if err != nil {
		t.Fatal(err)
	}
	asMember := of.Client(t, "node")
	asMember.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	if err := shake(c.Listen, node.Client()); err != nil {
		t.Fatalf("with a node's certificate: %v", err)
	}
	if err := shake(c.Peer, asMember); err != nil {
		t.Fatalf("as a member, to the members' port: %v", err)
	}
	stranger := of.Client(t, "node")
	stranger.GetClientCertificate = foreign.Client(t, "node").GetClientCertificate
	nobody := of.Client(t, "node")
	nobody.GetClientCertificate = nil
	for _, to := range []netip.AddrPort{c.Listen, c.Peer} {
		if err := shake(to, stranger); err == nil {
			t.Errorf("port %d took a certificate of another authority", to.Port())
		}
		if err := shake(to, nobody); err == nil {
			t.Errorf("port %d took a client without a certificate", to.Port())
		}
	}
	if err := shake(c.Peer, node.Client()); err == nil {
		t.Error("the members' port took a node's certificate")
	}
	of.Refuse(t, member, node.Certificate(), member.MemberCertificate())
	if err := shake(c.Listen, node.Client()); err == nil {
		t.Error("the clients' port took a refused certificate")
	}
	if err := shake(c.Peer, asMember); err == nil {
		t.Error("the members' port took a refused certificate")
	}
}

// What etcd would meet with silence at each connection is an error at once.
func TestFilesThatAreNoUse(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	for name, junk := range map[string]func(authority.Files) string{
		"certificate": func(f authority.Files) string { return f.Cert },
		"authorities": func(f authority.Files) string { return f.CA },
		"revoked":     func(f authority.Files) string { return f.CRL },
	} {
		t.Run(name, func(t *testing.T) {
			c := of.Member(t, of.Identity(t, "a", true), "a")
			if err := os.WriteFile(junk(c.Files), []byte("junk"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := start(t, c).fails(t); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Run: %v, want an error with %q", err, name)
			}
		})
	}
}

// Connections that never become a client do not fill the log.
func TestStrangersFillNoLog(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	c := of.Member(t, of.Identity(t, "a", true), "a")
	lines, address := &lines{}, c.Listen.String()
	c.Log = slog.New(slog.NewTextHandler(lines, nil))
	start(t, c).ready(t)
	for range 200 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("no TLS at all\r\n\r\n"))
		_, _ = io.ReadAll(conn) // until etcd gave it up
		_ = conn.Close()
	}
	if n := lines.with("rejected connection"); n < 1 || n > 20 {
		t.Errorf("200 connections wrote %d lines of log, want some and at most 20", n)
	}
}

// lines is a log that is looked at while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) with(word string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), []byte(word))
}

// TestWhatANodeMay is everything that a client of etcd may, which is why SECURITY.md
// says that hosts of a cluster trust one another.
func TestWhatANodeMay(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	c := of.Member(t, of.Identity(t, "a", true), "a")
	start(t, c).ready(t)
	kv := client(t, etcd.Config{Endpoints: []string{"https://" + c.Listen.String()}, TLS: of.Identity(t, "node", false).Client()})
	put(t, kv, store.MemberKey("node"))
	put(t, kv, store.EpochKey("another"))
	cluster := etcd.NewMembership(kv)
	if err := cluster.Snapshot(t.Context(), io.Discard); err != nil {
		t.Errorf("a copy: %v", err)
	}
	id, err := cluster.AddLearner(t.Context(), "https://192.0.2.9:2380")
	if err == nil {
		err = cluster.Remove(t.Context(), id)
	}
	if err != nil {
		t.Errorf("a change of members: %v", err)
	}
}
