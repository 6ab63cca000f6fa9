package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

const (
	// clusterID is the uuid of every simulated cluster.
	clusterID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	// gossipWriter is the name under which memberships reach the store.
	gossipWriter = "membership"
	// ownDirectory is the largest world in which each host mirrors the store
	// itself; beyond, the hosts share one mirror.
	ownDirectory = 50
)

// World is a store, a LAN and hosts on both.
type World struct {
	Fabric *Fabric
	Hosts  []*Host

	t      testing.TB
	mem    *storetest.Mem
	spy    *storetest.Spy
	rand   *rand.Rand
	shared *cluster.Directory // nil: each host has its own
	naive  bool
	stop   []func()
}

// Option changes a world before its hosts start.
type Option func(*World)

// Naive makes every host join the first host once and no other ever again,
// as a cluster without a store would.
func Naive(w *World) { w.naive = true }

// NewWorld makes a world of n hosts, none of which runs. Close ends it.
func NewWorld(t testing.TB, n int, seed uint64, options ...Option) *World {
	w := &World{
		Fabric: NewFabric(),
		t:      t,
		mem:    storetest.NewMem(),
		rand:   rand.New(rand.NewPCG(seed, uint64(n))),
	}
	for _, o := range options {
		o(w)
	}
	w.spy = storetest.NewSpy(w.mem)
	w.commit(
		store.Put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: clusterID})),
		store.Put(store.GossipKeysKey(), store.Encode(store.GossipKeys{Keys: gossipKeys()})),
	)
	if n > ownDirectory {
		w.share()
	}
	for i := range n {
		w.Hosts = append(w.Hosts, &Host{
			Name:  fmt.Sprintf("node%04d", i),
			Addr:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), gossip.DefaultPort),
			world: w,
		})
	}
	return w
}

func gossipKeys() [][]byte {
	key := sha256.Sum256([]byte("the key of a simulated cluster"))
	return [][]byte{key[:]}
}

// share runs one mirror for all hosts.
func (w *World) share() {
	w.shared = cluster.NewDirectory(nil)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.shared.Run(ctx, w.spy.As(gossipWriter)); err != nil {
			w.t.Errorf("directory: %v", err)
		}
	})
	w.stop = append(w.stop, func() { cancel(); wg.Wait() })
}

// Close stops every host and, last, what they share.
func (w *World) Close() {
	var wg sync.WaitGroup
	for _, h := range w.Hosts {
		wg.Go(h.Crash)
	}
	wg.Wait()
	for _, stop := range w.stop {
		stop()
	}
}

// Wrote returns what the memberships wrote to the store: nothing, ever.
func (w *World) Wrote() []storetest.Write { return w.spy.Writes(gossipWriter) }

// commit writes as the hosts' sessions would.
func (w *World) commit(ops ...store.Op) {
	if _, err := w.spy.As("session").Commit(context.Background(), store.Txn{Then: ops}); err != nil {
		w.t.Errorf("commit: %v", err)
	}
}

// Running returns the hosts whose membership runs.
func (w *World) Running() []*Host {
	var running []*Host
	for _, h := range w.Hosts {
		if h.Runs() {
			running = append(running, h)
		}
	}
	return running
}

// fixed is a registry that never changes.
type fixed gossip.Known

// Known implements gossip.Registry.
func (f fixed) Known() gossip.Known { return gossip.Known(f) }

// Changed implements gossip.Registry.
func (f fixed) Changed() <-chan struct{} { return make(chan struct{}) }
