// Package etcdtest runs real etcd servers for tests, and clients of them.
package etcdtest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// Serve runs an embedded etcd until the test ends.
func Serve(t *testing.T, config embedded.Config) *embedded.Server {
	t.Helper()
	server, _ := ServeUntil(t, config)
	return server
}

// ServeUntil runs an embedded etcd until stop is called or the test ends,
// and returns once it answers.
func ServeUntil(t *testing.T, config embedded.Config) (server *embedded.Server, stop func()) {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	config.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	server, err := embedded.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("embedded etcd: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-server.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("embedded etcd: %v", err)
	}
	return server, stop
}

// Connect makes a client that is closed when the test ends.
func Connect(t *testing.T, config etcd.Config) *etcd.Client {
	t.Helper()
	config.Log = slog.New(slog.DiscardHandler)
	if config.Attempt == 0 {
		config.Attempt = time.Minute // the machine may be busy
	}
	client, err := etcd.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return client
}

// Subject is an Etcd that can be compacted.
type Subject struct {
	*etcd.Client
	raw *clientv3.Client
}

// Compact forgets what was before a revision.
func (s Subject) Compact(ctx context.Context, rev store.Revision) error {
	_, err := s.raw.Compact(ctx, int64(rev))
	return err
}

// Open makes a subject in an etcd that others use too, with keys of its own
// below the prefix.
func Open(t *testing.T, config etcd.Config) Subject {
	t.Helper()
	raw, err := clientv3.New(clientv3.Config{Endpoints: config.Endpoints, TLS: config.TLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return OpenWith(t, config, raw)
}

// OpenWith is Open with a client that may compact.
func OpenWith(t *testing.T, config etcd.Config, raw *clientv3.Client) Subject {
	t.Helper()
	config.Prefix += "/test/" + rand.Text()
	return Subject{Connect(t, config), raw}
}

// FreeAddress is a loopback address nobody listens on.
func FreeAddress(t *testing.T) netip.AddrPort { return freeOn(t, "127.0.0.1") }

// DeadAddress is one that nobody comes to listen on: a port that is free may
// become another test's server.
func DeadAddress(t *testing.T) string { return freeOn(t, "127.0.77.1").String() }

func freeOn(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// Socket is the endpoint of a server with a data directory, before it runs.
func Socket(dir string) string { return "unix://" + filepath.Join(dir, "client.sock") }
