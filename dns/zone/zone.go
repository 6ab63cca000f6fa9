package zone

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
)

// Config is what a Zone is made of. The zero value of a field that has
// a default means it.
type Config struct {
	Node   string                // this host's node id: its containers come first in answers
	Domain string                // default "gvlan.internal"
	TTL    time.Duration         // of every answer; default 5 s, since the truth is local and may change
	Rank   func(node string) int // how alive a node seems: 0 alive, more is worse; nil: all alive
	Hosts  []netip.Addr          // addresses of the name server's own name, ns.<domain>
}

// Zone holds every name of the cluster. It is fed by the store's watch
// (ApplyNetworks, ApplyEndpoints) and never asks anything itself, so it
// answers for as long as the process lives, whatever the store does.
type Zone struct {
	node   string
	domain string
	ttl    uint32 // seconds
	rank   func(string) int
	hosts  []netip.Addr

	current                                   atomic.Pointer[snapshot]
	domainCounts, reverseCounts, passedCounts Counts

	mu          sync.Mutex         // serialises writers; guards the rest
	definitions map[string]defined // by key
	members     map[string]*member // by key
	nodes       map[string]uint32
	shared      map[ownName][]uint32 // nodes that use a container name, where it is more than one
	changed     chan struct{}        // closed and replaced at every change
	listed      struct{ networks, endpoints bool }
}

// defined is what the zone keeps of a definition.
type defined struct {
	id, name string
	off      bool
	subnets  []netip.Prefix
}

// ownName is a container's name in a network.
type ownName struct{ network, name string }

// New returns an empty zone. It fails on a domain that is no DNS name.
func New(c Config) (*Zone, error) {
	domain, err := FoldDomain(cmp.Or(c.Domain, "gvlan.internal"))
	if err != nil {
		return nil, err
	}
	z := &Zone{
		node: c.Node, domain: domain, rank: c.Rank, hosts: c.Hosts,
		ttl:         uint32(cmp.Or(c.TTL, 5*time.Second) / time.Second),
		definitions: make(map[string]defined),
		members:     make(map[string]*member),
		nodes:       make(map[string]uint32),
		shared:      make(map[ownName][]uint32),
		changed:     make(chan struct{}),
	}
	z.current.Store(&snapshot{domain: domain, networks: map[string]*network{}, reverse: newTable()})
	return z, nil
}

// Node returns the id of this host.
func (z *Zone) Node() string { return z.node }

// Domain returns the domain all names are below, without a trailing dot.
func (z *Zone) Domain() string { return z.domain }

// now returns the picture readers have.
func (z *Zone) now() *snapshot { return z.current.Load() }

// Changed returns a channel that is closed at the next change.
func (z *Zone) Changed() <-chan struct{} {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.changed
}

// Filled reports whether the zone got a list of both its networks and its
// endpoints. Until then, that it lacks a name means nothing.
func (z *Zone) Filled() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.listed.networks && z.listed.endpoints
}

// ApplyNetworks takes in a change of the definitions: what store.Follow
// reports for store.NetworksSpan.
func (z *Zone) ApplyNetworks(c store.Change) {
	e := z.edit()
	defer e.publish()
	each(c, maps.Keys(z.definitions), e.setDefinition, e.dropDefinition)
	e.saw(c)
	e.list(c, &z.listed.networks)
}

// ApplyEndpoints takes in a change of the endpoints of all nodes: what
// store.Follow reports for store.EndpointsSpan.
func (z *Zone) ApplyEndpoints(c store.Change) {
	e := z.edit()
	defer e.publish()
	each(c, maps.Keys(z.members), e.setEndpoint, e.dropEndpoint)
	e.saw(c)
	e.list(c, &z.listed.endpoints)
}

// each turns a change into puts and drops. On a Reset, what is known and
// not listed is dropped.
func each(c store.Change, known iter.Seq[string], put func(store.Item), drop func(key string)) {
	for _, ev := range c.Events {
		if ev.Deleted {
			drop(ev.Item.Key)
		} else {
			put(ev.Item)
		}
	}
	if !c.Reset {
		return
	}
	listed := make(map[string]bool, len(c.Items))
	for _, it := range c.Items {
		listed[it.Key] = true
	}
	for _, key := range slices.Collect(known) {
		if !listed[key] {
			drop(key)
		}
	}
	for _, it := range c.Items {
		put(it)
	}
}

// Rerank asks Rank about every node again. Call it when a node's liveness
// changed; it reorders answers and never adds or removes one.
func (z *Zone) Rerank() {
	e := z.edit()
	defer e.publish()
	e.rerank()
}

// rankOf ranks a node: this one first, whatever Rank says.
func (z *Zone) rankOf(node string) uint8 {
	if node == z.node {
		return rankLocal
	}
	if z.rank == nil {
		return rankAlive
	}
	return uint8(min(max(z.rank(node), 0)+int(rankAlive), int(rankDead)))
}

// edit begins a change, and keeps other writers out until it is published.
func (z *Zone) edit() *edit {
	z.mu.Lock()
	return &edit{z: z, next: *z.now(), networks: make(map[string]*network), names: make(map[string]*draft)}
}

// ScopeOf returns what a question from an address may see: a container sees
// the networks its address is on, anybody else everything. The second
// result reports whether it is a container.
func (z *Zone) ScopeOf(client netip.Addr) (Scope, bool) {
	holders := z.now().holders(client.Unmap())
	if len(holders) == 0 {
		return Everything(), false
	}
	var ids []string
	for _, m := range holders {
		ids = append(ids, m.network)
	}
	return Networks(ids...), true
}

// Covers reports whether an address is on a network in scope.
func (z *Zone) Covers(scope Scope, addr netip.Addr) bool {
	s := z.now()
	for _, m := range s.holders(addr) {
		if scope.sees(s.networks[m.network]) {
			return true
		}
	}
	for _, id := range scope.networks {
		net := s.networks[id]
		if !scope.sees(net) {
			continue
		}
		for _, subnet := range net.subnets {
			if subnet.Contains(addr) {
				return true
			}
		}
	}
	return false
}
