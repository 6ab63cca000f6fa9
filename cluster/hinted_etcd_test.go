package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// serveEtcd runs an embedded etcd until the test ends.
func serveEtcd(t *testing.T) *embedded.Server {
	t.Helper()
	server, err := embedded.New(embedded.Config{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("embedded etcd: %v", err)
		}
	})
	<-server.Ready()
	return server
}

func etcdClient(t *testing.T, server *embedded.Server) *etcd.Client {
	t.Helper()
	client, err := etcd.New(etcd.Config{Endpoints: []string{server.Endpoint()}, Prefix: "/t", Attempt: time.Minute, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// arrivals notes when each revision reached each mirror.
type arrivals struct {
	mu     sync.Mutex
	at     map[store.Revision][]time.Time
	lists  int
	change chan struct{} // holds one
}

func (a *arrivals) apply(c store.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Reset {
		a.lists++
	}
	for _, ev := range c.Events {
		a.at[ev.At] = append(a.at[ev.At], time.Now())
	}
	select {
	case a.change <- struct{}{}:
	default:
	}
}

// await waits until something is so.
func (a *arrivals) await(so func() bool) {
	for {
		a.mu.Lock()
		done := so()
		a.mu.Unlock()
		if done {
			return
		}
		<-a.change
	}
}

// TestWatchIsFirst measures, on a real etcd, why a hint is a guard and not a
// way to be faster: how soon a write is at every mirror by the watch alone,
// and at which share of them before the writer has its answer, which is when
// it tells.
func TestWatchIsFirst(t *testing.T) {
	const mirrors, writes = 20, 200
	server := serveEtcd(t)
	a := &arrivals{at: map[store.Revision][]time.Time{}, change: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer func() { cancel(); wait.Wait() }()
	for range mirrors {
		kv := cluster.NewHinted(etcdClient(t, server), func(cluster.Hint) {})
		wait.Go(func() {
			if err := store.Follow(ctx, kv, store.EndpointsSpan(), a.apply); err != nil {
				t.Errorf("follow: %v", err)
			}
		})
	}
	a.await(func() bool { return a.lists == mirrors })

	var told cluster.Hint
	writer := cluster.NewHinted(etcdClient(t, server), func(h cluster.Hint) { told = h })
	var all []float64
	first := 0
	for i := range writes {
		began := time.Now()
		put(t, writer, store.Put(store.EndpointKey("a", fmt.Sprint(i)), []byte("{}")))
		answered := time.Now()
		a.await(func() bool { return len(a.at[told.Rev]) >= mirrors })
		for _, at := range a.at[told.Rev] {
			all = append(all, float64(at.Sub(began).Microseconds())/1000)
			if at.Before(answered) {
				first++
			}
		}
	}
	slices.Sort(all)
	fmt.Printf("BENCH watch_p50_ms %.2f\nBENCH watch_p99_ms %.2f\n", all[len(all)/2], all[len(all)*99/100])
	fmt.Printf("BENCH watch_before_answer_share %.3f\n", float64(first)/float64(len(all)))
}
