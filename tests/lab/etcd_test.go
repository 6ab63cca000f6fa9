package lab_test

import (
	"context"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

func TestEtcd(t *testing.T) {
	l := lab.New(t, lab.Options{})
	authority, err := l.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]lab.EtcdOptions{"plain": {}, "TLS": {TLS: authority}} {
		t.Run(name, func(t *testing.T) {
			e, err := l.NewEtcd(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			client, err := e.Client()
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			put(t, client, "a")
			restart(t, e, func() error { return nil })
			expect(t, client, "after a restart", 1)

			copied := filepath.Join(t.TempDir(), "copy")
			restart(t, e, func() error { return e.Save(copied) })
			put(t, client, "b")
			expect(t, client, "after another put", 2)
			restart(t, e, func() error { return e.Restore(copied) })
			expect(t, client, "after going back to the copy", 1)
			restart(t, e, e.Wipe)
			expect(t, client, "after a wipe", 0)

			if err := e.Pause(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			answered := make(chan error, 1)
			go func() {
				_, err := client.Get(ctx, "a")
				answered <- err
			}()
			if err := e.Resume(); err != nil {
				t.Fatal(err)
			}
			if err := <-answered; err != nil {
				t.Errorf("get answered after a pause: %v", err)
			}
			cancel()
		})
	}
}

// restart kills a server, does something to its data, and starts it again.
func restart(t *testing.T, e *lab.Etcd, between func() error) {
	t.Helper()
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := between(); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	if _, err := client.Put(t.Context(), key, "x"); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, client *clientv3.Client, when string, keys int64) {
	t.Helper()
	got, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if got.Count != keys {
		t.Errorf("%s: %d keys, want %d", when, got.Count, keys)
	}
}
