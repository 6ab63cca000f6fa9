package sim

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// Host is one node of a world.
type Host struct {
	Name   string
	Addr   netip.AddrPort
	Member *gossip.Membership // nil before the first Start
	Port   *Port
	Wire   *storetest.Wire // its connection to the store, which can be cut

	world    *World
	registry gossip.Registry
	end      func() // stops the membership and waits; nil while it does not run

	mu     sync.Mutex
	began  time.Time
	formed time.Time // when it first saw every host of the world
	saw    []Sighting
}

// Sighting is an event of a host's membership.
type Sighting struct {
	Node   string
	Gossip gossip.Standing
	Before gossip.Standing
	At     time.Time
}

// Start registers the host in the store, as its session would, and runs its
// membership.
func (h *Host) Start() {
	h.world.commit(store.Put(store.NodeKey(h.Name), store.Encode(store.Node{Node: h.Name, Gossip: h.Addr.String()})))
	h.Connect()
	h.Port = h.world.Fabric.Open(h.Addr)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	h.registry = h.openRegistry(ctx, &wg)
	config := gossip.Config{
		Node:      h.Name,
		Registry:  h.registry,
		Address:   h.Addr.Addr(),
		Port:      h.Addr.Port(),
		Transport: h.Port,
		Rand:      rand.New(rand.NewPCG(h.world.rand.Uint64(), 0)),
	}
	if h.world.naive {
		config.Join = []string{h.world.Hosts[0].Addr.String()}
	}
	member, err := gossip.New(config)
	if err != nil {
		h.world.t.Errorf("%s: %v", h.Name, err)
		cancel()
		return
	}
	h.mu.Lock()
	h.began, h.formed, h.saw = time.Now(), time.Time{}, nil
	h.mu.Unlock()
	h.Member = member
	wg.Go(func() {
		if err := member.Run(ctx); err != nil {
			h.world.t.Errorf("%s: %v", h.Name, err)
		}
	})
	wg.Go(func() { h.watch(ctx, member) })
	h.end = func() { cancel(); wg.Wait() }
}

func (h *Host) openRegistry(ctx context.Context, wg *sync.WaitGroup) gossip.Registry {
	if h.world.naive {
		return fixed{Cluster: clusterID, Keys: gossipKeys()}
	}
	if h.world.shared != nil {
		return h.world.shared
	}
	dir := cluster.NewDirectory(nil)
	h.Wire = storetest.NewWire(h.world.spy.As(gossipWriter))
	wg.Go(func() {
		if err := dir.Run(ctx, h.Wire); err != nil {
			h.world.t.Errorf("%s: directory: %v", h.Name, err)
		}
	})
	return dir
}

// watch records what the membership reports, with the time of it.
func (h *Host) watch(ctx context.Context, member *gossip.Membership) {
	for {
		select {
		case <-ctx.Done():
			return
		case batch := <-member.Events():
			h.note(batch, member.Answering())
		}
	}
}

func (h *Host) note(batch gossip.Batch[gossip.Event], answering int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if answering == len(h.world.Hosts) && h.formed.IsZero() {
		h.formed = now
	}
	for _, e := range batch.Items {
		h.saw = append(h.saw, Sighting{Node: e.Member.Node, Gossip: e.Member.Standing, Before: e.Before, At: now})
	}
}

// Connect writes the record that a connected agent has, Disconnect takes it
// away, as its lease does when it runs out.
func (h *Host) Connect() {
	live := store.Live{Host: h.Name, Gossip: h.Addr.String(), Since: time.Now().Unix()}
	h.world.commit(store.Put(store.LiveKey(h.Name), store.Encode(live)))
}

// Disconnect is the opposite of Connect.
func (h *Host) Disconnect() { h.world.commit(store.Delete(store.LiveKey(h.Name))) }

// CutStore takes the host's connection to the store away, and with it its
// live record; HealStore brings both back.
func (h *Host) CutStore() {
	h.Wire.Down()
	h.Disconnect()
}

// HealStore is the opposite of CutStore.
func (h *Host) HealStore() {
	h.Wire.Up()
	h.Connect()
}

// States returns how the host judges every node.
func (h *Host) States() map[string]cluster.State {
	states := map[string]cluster.State{}
	for _, row := range cluster.View(h.registry.Known(), h.Member.Members()) {
		states[row.Node] = row.State
	}
	return states
}

// Runs reports whether the membership runs.
func (h *Host) Runs() bool { return h.end != nil }

// Crash stops the membership without a word, as kill -9 does. Its records
// stay in the store.
func (h *Host) Crash() {
	if h.end != nil {
		h.end()
		h.end = nil
	}
}

// Leave stops the membership as a clean stop of the agent does.
func (h *Host) Leave() {
	if err := h.Member.Leave(context.Background()); err != nil {
		h.world.t.Errorf("%s: %v", h.Name, err)
	}
	h.Disconnect()
	h.Crash()
}

// Formed returns how long the host took to see every host of the world, and
// false while it has not.
func (h *Host) Formed() (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.formed.Sub(h.began), !h.formed.IsZero()
}

// Sightings returns what the host saw of others since a time, in order.
func (h *Host) Sightings(since time.Time) []Sighting {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.saw {
		if !s.At.Before(since) {
			return h.saw[i:len(h.saw):len(h.saw)]
		}
	}
	return nil
}
