package embedded_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
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
)

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
	if first.Token() != "" {
		t.Fatal("a server that listens to nobody has a token")
	}
}

func TestSecondServerOnOneDirectory(t *testing.T) {
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
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	c := embedded.Config{Dir: t.TempDir(), Listen: address, Insecure: true}
	err = start(t, c).fails(t)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) {
		t.Fatalf("Run: %v, want that %s is taken", err, address)
	}
	c.Listen = "" // the failed start left the directory usable
	start(t, c).ready(t)
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		config embedded.Config
		want   string
	}{
		{"listen without port", embedded.Config{Listen: "192.0.2.1"}, "192.0.2.1"},
		{"listen on a name", embedded.Config{Listen: "host:2379"}, "host:2379"},
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

func TestTokenIsKeptAndSecret(t *testing.T) {
	dir := t.TempDir()
	address := "127.0.0.1:" + freePort(t)
	first := start(t, embedded.Config{Dir: dir, Listen: address}).ready(t)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, embedded.Config{Dir: dir, Listen: address}).ready(t)
	if first.Token() == "" || first.Token() != second.Token() {
		t.Fatalf("tokens %q and %q", first.Token(), second.Token())
	}
	for _, name := range []string{"token", "server.key", "server.crt", "ca.crt"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, mode)
		}
	}
}

// Both ways: the token's holder talks to the server, others do not get far
// enough to say anything.
func TestTokenOpensTheServer(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	server := start(t, embedded.Config{Dir: t.TempDir(), Listen: address}).ready(t)
	shake := func(config *tls.Config) error {
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			return err
		}
		defer conn.Close()
		// With TLS 1.3 the server's verdict on the client arrives with the
		// first read.
		if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	config := func(token string) *tls.Config {
		of, err := authority.New(token)
		if err != nil {
			t.Fatal(err)
		}
		c := of.Client("node")
		c.NextProtos = []string{"h2"}
		return c
	}
	if err := shake(config(server.Token())); err != nil {
		t.Fatalf("with the token: %v", err)
	}
	var unknown *tls.CertificateVerificationError
	if err := shake(config(authority.NewToken())); !errors.As(err, &unknown) {
		t.Fatalf("a client with another token: %v, want that it refuses the server", err)
	}
	stranger := config(authority.NewToken())
	stranger.RootCAs = config(server.Token()).RootCAs
	if err := shake(stranger); err == nil {
		t.Fatal("the server accepted a certificate of another token")
	}
	nobody := config(server.Token())
	nobody.GetClientCertificate = nil
	if err := shake(nobody); err == nil {
		t.Fatal("the server accepted a client without a certificate")
	}
}

// Connections that never become a client do not fill the log.
func TestStrangersFillNoLog(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	lines := &lines{}
	start(t, embedded.Config{Dir: t.TempDir(), Listen: address, Log: slog.New(slog.NewTextHandler(lines, nil))}).ready(t)
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

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
