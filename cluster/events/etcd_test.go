package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

// memory is a Keeper.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) Keep(values map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.values, values)
	return nil
}

func (*memory) Each(func(string, []byte) error) error { return nil }

// TestOnEtcd: what the tests in memory show is so on etcd, whose leases and
// watches it rests on.
func TestOnEtcd(t *testing.T) {
	dir := t.TempDir()
	etcdtest.Serve(t, embedded.Config{Dir: dir})
	kv := etcdtest.Open(t, etcd.Config{Endpoints: []string{etcdtest.Socket(dir)}})
	at := func(node string) *events.Recorder {
		r, err := events.New(events.Config{Node: node, Keeper: &memory{values: map[string][]byte{}}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	teller, follower := at("h1"), at("h2")
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	run.Go(func() { teller.Run(ctx, kv, kv) })
	heard := make(chan events.Event, 10)
	run.Go(func() {
		err := follower.Follow(ctx, kv, events.Filter{}, func(all []events.Event) error {
			for _, e := range all {
				heard <- e
			}
			return nil
		})
		if err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	var last events.Event
	for i := 0; last.Text == ""; i++ { // until it follows
		teller.Tell(events.Event{Kind: events.Conflict, Text: fmt.Sprint(i)})
		select {
		case last = <-heard:
		case <-time.After(3 * time.Second):
		}
	}
	all, err := events.Read(t.Context(), kv, events.Filter{})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	for range 2 { // the second finds the first
		if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.LiveKey("h1"), []byte("{}"))}}); err != nil {
			t.Fatal(err)
		}
		if err := teller.Leave(t.Context(), kv, kv, "stopped"); err != nil {
			t.Fatal(err)
		}
	}
	all, err = events.Read(t.Context(), kv, events.Filter{Kinds: []events.Kind{events.HostWent}})
	if err != nil || len(all) != 1 {
		t.Errorf("%d departures, %v; want 1", len(all), err)
	}
}
