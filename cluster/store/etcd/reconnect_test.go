package etcd_test

import (
	"errors"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

func TestEtcdTellsOfEachReconnect(t *testing.T) {
	t.Parallel()
	address, dir := etcdtest.FreeAddress(t), t.TempDir()
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{address}})
	for range 2 {
		_, stop := etcdtest.ServeUntil(t, embedded.Config{Dir: dir, Listen: address, Insecure: true})
		if _, err := client.Get(t.Context(), "/none"); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		select {
		case <-client.Reconnected():
		case <-time.After(time.Minute):
			t.Fatal("a connection was made, and not told of")
		}
		stop()
	}
}
