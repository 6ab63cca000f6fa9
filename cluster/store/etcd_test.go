package store_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/storetest"
)

// serve runs an embedded etcd until the test ends.
func serve(t *testing.T, config embedded.Config) *embedded.Server {
	t.Helper()
	server, _ := serveUntil(t, config)
	return server
}

// serveUntil runs an embedded etcd until stop is called or the test ends,
// and returns once it answers.
func serveUntil(t *testing.T, config embedded.Config) (server *embedded.Server, stop func()) {
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

// connect makes a client that is closed when the test ends.
func connect(t *testing.T, config store.EtcdConfig) *store.Etcd {
	t.Helper()
	config.Log = discard
	if config.Attempt == 0 {
		config.Attempt = time.Minute // the machine may be busy
	}
	etcd, err := store.NewEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := etcd.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return etcd
}

// etcdSubject is an Etcd that can be compacted.
type etcdSubject struct {
	*store.Etcd
	raw *clientv3.Client
}

func (s etcdSubject) Compact(ctx context.Context, rev store.Revision) error {
	_, err := s.raw.Compact(ctx, int64(rev))
	return err
}

// prefixes gives every user of a shared etcd keys of its own.
var prefixes atomic.Int64

// open makes a subject in an etcd that others use too.
func open(t *testing.T, config store.EtcdConfig) etcdSubject {
	t.Helper()
	config.Prefix = fmt.Sprintf("/test/%d", prefixes.Add(1))
	raw, err := clientv3.New(clientv3.Config{Endpoints: config.Endpoints, TLS: config.TLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	return etcdSubject{connect(t, config), raw}
}

func TestEtcd(t *testing.T) {
	t.Parallel()
	server := serve(t, embedded.Config{})
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return open(t, store.EtcdConfig{Endpoints: []string{server.Endpoint()}})
	})
}

func TestEtcdOverTLS(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	server := serve(t, embedded.Config{Listen: address})
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return open(t, store.EtcdConfig{Endpoints: []string{"https://" + address}, TLS: clientTLS(t, server.Token())})
	})
}

// clientTLS is what whoever has the token connects with.
func clientTLS(t *testing.T, token string) *tls.Config {
	t.Helper()
	authority, err := embedded.NewAuthority(token)
	if err != nil {
		t.Fatal(err)
	}
	return authority.Client("node")
}

// freeAddress is a loopback address nobody listens on, and that the
// certificates of an embedded etcd name.
func freeAddress(t *testing.T) string { return freeOn(t, "127.0.0.1") }

// deadAddress is one that nobody comes to listen on: a port that is free may
// become another test's server.
func deadAddress(t *testing.T) string { return freeOn(t, "127.0.77.1") }

func freeOn(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
