package session_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// A session on a real etcd: opens, is fenced by its successor, leaves.
func TestSessionOnEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	id := session.Identity{Node: "a", Install: "one", Boot: "boot"}
	config := etcd.Config{Endpoints: []string{server.Endpoint()}}
	run := func(s *session.Session) (stop func() error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.Opened()
		return func() error { cancel(); return <-done }
	}
	p := &storetest.Past{}
	first := session.New(etcdtest.Connect(t, config), id, p, discard)
	stopFirst := run(first)
	if err := storetest.Put(t.Context(), first, "/k"); err != nil {
		t.Fatal(err)
	}
	second := session.New(etcdtest.Connect(t, config), id, p, discard)
	stopSecond := run(second)
	if err := storetest.Put(t.Context(), first, "/k"); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("Commit of the first: %v, want ErrFenced", err)
	}
	if err := stopFirst(); err != nil && !errors.Is(err, store.ErrFenced) {
		t.Fatalf("Run of the first: %v", err)
	}
	if err := storetest.Put(t.Context(), second, "/k"); err != nil {
		t.Fatal(err)
	}
	if _, ok := live(t, second); !ok {
		t.Fatal("the first took the second's /live away")
	}
	if err := stopSecond(); err != nil {
		t.Fatal(err)
	}
	if _, ok := live(t, etcdtest.Connect(t, config)); ok {
		t.Fatal("live is still there after a clean leave")
	}
}

// The data directory of a real etcd is lost and made anew behind the same
// address, while a session runs that writes nothing.
func TestSessionOutlivesALostEtcd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func() (stop func()) {
		if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
			t.Fatal(err)
		}
		_, stop = etcdtest.ServeUntil(t, embedded.Config{Dir: dir})
		return stop
	}
	stop := run()
	p := &storetest.Past{}
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{etcdtest.Socket(dir)}})
	s := session.New(client, session.Identity{Node: "a", Install: "one"}, p, discard)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Opened()
	known := s.Cluster()
	stop()
	defer run()()
	guard := time.After(2 * time.Minute)
	for !errors.Is(s.Trusted(), store.ErrSuspect) || s.Cluster() == known {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-guard:
			t.Fatalf("Trusted: %v, cluster %s; want ErrSuspect and another than %s", s.Trusted(), s.Cluster(), known)
		}
	}
	if err := s.OpenGate(ctx); err != nil {
		t.Fatalf("OpenGate: %v", err)
	}
	if err := s.Accept(ctx); err != nil || s.Trusted() != nil {
		t.Fatalf("Accept: %v, then Trusted: %v", err, s.Trusted())
	}
	if known, _ := p.LoadPast(); known.Cluster != s.Cluster() {
		t.Fatalf("the past knows cluster %s, want %s", known.Cluster, s.Cluster())
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("Run: %v", err)
	}
}
