package store_test

import (
	"errors"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
)

func TestEtcdTellsOfEachReconnect(t *testing.T) {
	t.Parallel()
	address, dir := freeAddress(t), t.TempDir()
	etcd := connect(t, store.EtcdConfig{Endpoints: []string{address}})
	for range 2 {
		_, stop := serveUntil(t, embedded.Config{Dir: dir, Listen: address, Insecure: true})
		if _, err := etcd.Get(t.Context(), "/none"); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		select {
		case <-etcd.Reconnected():
		case <-time.After(time.Minute):
			t.Fatal("a connection was made, and not told of")
		}
		stop()
	}
}
