package zone

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
)

func (z *Zone) edit() *edit {
	z.mu.Lock()
	return &edit{z: z, next: *z.now(), networks: make(map[string]*network), names: make(map[string]*draft)}
}

// nameOf returns a network's name as Docker knows it, as far as it is
// known. The caller holds z.mu.
func (z *Zone) nameOf(net *network) string {
	for _, d := range z.definitions {
		if d.id == net.id {
			return d.name
		}
	}
	return net.label
}

// Record is one name of one endpoint, for people.
type Record struct {
	Name      string // below its network: folded, or as it is spelled where that makes a difference
	Network   string // folded name; "" for a network that has no zone
	Node      string // node id of the host the container runs on
	Addresses []netip.Addr
}

// Names returns every name in scope, ordered by network, name and node.
func (z *Zone) Names(scope Scope) []Record {
	z.mu.Lock()
	s, nodes := z.now(), z.nodeIDs()
	z.mu.Unlock()
	var all []Record
	for _, net := range s.networks {
		if !scope.sees(net) {
			continue
		}
		label := net.label
		if !net.zoned {
			label = ""
		}
		for _, shard := range net.names.shards {
			for name, e := range shard {
				for _, m := range e.members {
					ways := []string{name}
					if e.mixed {
						ways = m.spellings(name)
					}
					for _, way := range ways {
						all = append(all, Record{Name: way, Network: label, Node: nodes[m.node], Addresses: m.addrs()})
					}
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Record) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), strings.Compare(a.Name, b.Name), strings.Compare(a.Node, b.Node),
			slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare))
	})
	return all
}

// nodeIDs returns the nodes by their index. The caller holds z.mu.
func (z *Zone) nodeIDs() []string {
	ids := make([]string, len(z.nodes))
	for id, i := range z.nodes {
		ids[i] = id
	}
	return ids
}

// Counts returns the counters of every zone, the networks' ordered by name
// and then the three that are no network's.
func (z *Zone) Counts() []ZoneCounts {
	var all []ZoneCounts
	for _, net := range z.now().networks {
		all = append(all, ZoneCounts{cmp.Or(net.label, net.id), net.counts})
	}
	slices.SortFunc(all, func(a, b ZoneCounts) int { return strings.Compare(a.Zone, b.Zone) })
	return append(all,
		ZoneCounts{DomainCounts, &z.domainCounts},
		ZoneCounts{ReverseCounts, &z.reverseCounts},
		ZoneCounts{PassedCounts, &z.passedCounts})
}

// ReverseZones returns the reverse zones of every network's subnets, as
// names without a trailing dot, in order.
func (z *Zone) ReverseZones() []string {
	var zones []string
	for _, net := range z.now().networks {
		if net.off {
			continue
		}
		for _, subnet := range net.subnets {
			for _, zone := range reverseZones(subnet) {
				zones = append(zones, strings.TrimSuffix(reverseName(zone), "."))
			}
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// Namesakes is one container name that several hosts use in one network.
// Each engine sees to it that its own are unique, and nobody that all are:
// the name is answered with the addresses of all of them.
type Namesakes struct {
	Name    string   // folded
	Network string   // as Docker knows it, as far as that is known
	Nodes   []string // ids of the hosts, two or more, in order
}

// ownName is a container's name in a network.
type ownName struct{ network, name string }

// Namesakes returns the container names in scope that more than one host
// uses, ordered by network and name.
func (z *Zone) Namesakes(scope Scope) []Namesakes {
	z.mu.Lock()
	defer z.mu.Unlock()
	s, ids := z.now(), z.nodeIDs()
	var all []Namesakes
	for own, nodes := range z.shared {
		net := s.networks[own.network]
		if !scope.sees(net) {
			continue
		}
		n := Namesakes{Name: own.name, Network: z.nameOf(net)}
		for _, node := range nodes {
			n.Nodes = append(n.Nodes, ids[node])
		}
		slices.Sort(n.Nodes)
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b Namesakes) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), strings.Compare(a.Name, b.Name))
	})
	return all
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

// judge ranks a node: this one first, whatever Rank says.
func (z *Zone) judge(node string) uint8 {
	if node == z.node {
		return rankLocal
	}
	if z.rank == nil {
		return rankAlive
	}
	return uint8(min(max(z.rank(node), 0)+int(rankAlive), int(rankDead)))
}

// ScopeOf returns what a question from an address may see: a container sees
// the networks its address is on, anybody else everything. The second
// result tells whether it is a container.
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

// Config is what a Zone is made of. The zero value of a field that has
// a default means it.
type Config struct {
	Node   string                // this host's node id: its containers come first in answers
	Domain string                // default "gvlan.internal"
	TTL    time.Duration         // of every answer; default 5 s, since the truth is local and may change
	Rank   func(node string) int // how alive a node seems: 0 alive, more is worse; nil: all alive
	Hosts  []netip.Addr          // addresses of the name server's own name, ns.<domain>
}

// negativeTTL is how long "no such name" may be remembered (RFC 2308): a
// container that is about to start must not stay unknown for long.
const negativeTTL = 2 // seconds

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

// Conflict says why a network has no zone of its own. Its containers still
// answer by their bare names.
type Conflict struct {
	Network string // name
	Label   string // what it folds to
	With    string // the other network's name; "" when the name cannot stand in the DNS
}

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

func (z *Zone) now() *snapshot { return z.current.Load() }

// Changed returns a channel that is closed at the next change.
func (z *Zone) Changed() <-chan struct{} {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.changed
}

// Serial is the serial number of the zone's SOA: the low 32 bits of the
// store's revision the names are true of, so that equal serials on two nodes
// mean equal names.
func (z *Zone) Serial() uint32 { return z.now().serial }

// Conflicts returns the networks that have no zone, and why, ordered by
// name.
func (z *Zone) Conflicts() []Conflict { return slices.Clone(z.now().refused) }

// ApplyNetworks takes in a change of the definitions: what store.Follow
// reports for store.NetworksSpan.
func (z *Zone) ApplyNetworks(c store.Change) {
	e := z.edit()
	defer e.publish()
	each(c, keysOf(z.definitions), e.setDefinition, e.dropDefinition)
	e.saw(c)
	e.list(c, &z.listed.networks)
}

// ApplyEndpoints takes in a change of the endpoints of all nodes: what
// store.Follow reports for store.EndpointsSpan.
func (z *Zone) ApplyEndpoints(c store.Change) {
	e := z.edit()
	defer e.publish()
	each(c, keysOf(z.members), e.setEndpoint, e.dropEndpoint)
	e.saw(c)
	e.list(c, &z.listed.endpoints)
}

// Filled reports whether the zone got a list of both its networks and its
// endpoints. Until then, that it lacks a name means nothing.
func (z *Zone) Filled() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.listed.networks && z.listed.endpoints
}

// Rerank asks Rank about every node again. Call it when a node's liveness
// changed; it reorders answers and never adds or removes one.
func (z *Zone) Rerank() {
	e := z.edit()
	defer e.publish()
	e.rerank()
}

// each turns a change into puts and drops. On a Reset, what is known and
// not listed is dropped.
func each(c store.Change, known func(func(string)), put func(store.Item), drop func(key string)) {
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
	var gone []string
	known(func(key string) {
		if !listed[key] {
			gone = append(gone, key)
		}
	})
	for _, key := range gone {
		drop(key)
	}
	for _, it := range c.Items {
		put(it)
	}
}

func keysOf[V any](m map[string]V) func(func(string)) {
	return func(visit func(string)) {
		for key := range m {
			visit(key)
		}
	}
}
