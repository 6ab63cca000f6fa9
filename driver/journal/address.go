package journal

import (
	"maps"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// LeaseState is how far this node's lease of an address has come.
type LeaseState string

const (
	// Given: Docker was answered with it; no endpoint has it yet.
	Given LeaseState = "given"
	// Reissued: given again while the store was away, which the store was never
	// told of. It may be bound so too; after a start it is given, in doubt.
	Reissued LeaseState = "reissued"
	// Bound: an endpoint has it. A release is none before Unbind.
	Bound LeaseState = "bound"
	// Unbound: its endpoint was deleted, its release is to come.
	Unbound LeaseState = "unbound"
	// Releasing: it was released and the store may not know yet.
	Releasing LeaseState = "releasing"
)

// Lease is this node's own lease of one address. It is only changed by who
// holds its place (ipam).
type Lease struct {
	Segment string          `json:"segment"`
	Address netip.Addr      `json:"address"`
	Nonce   string          `json:"nonce"`
	Created store.Revision  `json:"created,omitempty"` // 0: the reply was lost, or it is not known
	Kind    store.LeaseKind `json:"kind"`
	Since   int64           `json:"since"`             // unix seconds
	Network string          `json:"network,omitempty"` // engine's id; "" for a pool that was never joined
	Pool    string          `json:"pool"`              // PoolID it was given from
	State   LeaseState      `json:"state"`
	// Endpoint has the address (bound), had it (unbound, releasing), or may
	// have it in the store although its Bind was refused (given).
	Endpoint string `json:"endpoint,omitempty"`
	// Claimed is set for a swarm worker's: the manager may have a claim on the
	// same record, which is therefore rewritten and never just replaced.
	Claimed bool `json:"claimed,omitempty"`
	// Doubt is set when a release of it may have reached the store: then it
	// may be somebody else's by now, and only the store can say.
	Doubt bool `json:"doubt,omitempty"`
}

// IsGiven reports whether Docker was answered with it and no endpoint has it.
func (l Lease) IsGiven() bool { return l.State == Given || l.State == Reissued }

// Place is where the address is.
func (l Lease) Place() pool.Place { return pool.At(l.Segment, l.Address) }

func (l Lease) key() Key {
	return Key{addressesBucket, "lease/" + l.Segment + "/" + l.Address.String()}
}

func (l Lease) enter(m *Memory) {
	at := l.Place()
	unname(m, at)
	m.leases[at] = l
	if l.Endpoint != "" {
		if m.byEndpoint[l.Endpoint] == nil {
			m.byEndpoint[l.Endpoint] = map[pool.Place]bool{}
		}
		m.byEndpoint[l.Endpoint][at] = true
	}
	addrset.In(m.held, l.Segment).Add(addrset.Single(l.Address))
}

// unname forgets which endpoint the lease of a place names.
func unname(m *Memory, at pool.Place) {
	named := m.byEndpoint[m.leases[at].Endpoint]
	delete(named, at)
	if len(named) == 0 {
		delete(m.byEndpoint, m.leases[at].Endpoint)
	}
}

func (l Lease) leave(m *Memory) {
	unname(m, l.Place())
	delete(m.leases, l.Place())
	addrset.In(m.held, l.Segment).Remove(addrset.Single(l.Address))
}

// BindingState is how the store's record of an endpoint stands.
type BindingState string

const (
	// Written: the store has the record and the leases say so.
	Written BindingState = "written"
	// Unwritten: bound while the store was away; to be written.
	Unwritten BindingState = "unwritten"
	// Closing: deleted; the record is to go.
	Closing BindingState = "closing"
)

// Binding is one endpoint of this node as it was bound.
type Binding struct {
	Record  store.Endpoint `json:"record"`
	Network string         `json:"network"` // engine's id
	State   BindingState   `json:"state"`
}

func (e Binding) key() Key { return Key{addressesBucket, "endpoint/" + e.Record.Endpoint} }

func (e Binding) enter(m *Memory) { m.bindings[e.Record.Endpoint] = e }

func (e Binding) leave(m *Memory) { delete(m.bindings, e.Record.Endpoint) }

// Pool is one opened view on a subnet, from RequestPool until its network is
// gone.
type Pool struct {
	ID      string            `json:"id"`
	Parsed  pool.ID           `json:"-"`   // what ID says
	Seq     int64             `json:"seq"` // of opening on this host
	Heard   int64             `json:"-"`   // unix milliseconds: when Docker last spoke of its create; 0: not since the agent's start
	Options map[string]string `json:"options,omitempty"`
	Default bool              `json:"default,omitempty"` // taken from the default pools
	Network string            `json:"network,omitempty"` // engine's id, once CreateNetwork joined it
	// Closed is set when Docker is done with it; what it owes is given back
	// before it is forgotten.
	Closed bool `json:"closed,omitempty"`

	Gateway netip.Addr            `json:"gateway,omitzero"`
	Asked   bool                  `json:"asked,omitempty"` // the user gave the gateway
	Extra   []netip.Addr          `json:"extra,omitempty"` // asked for before the join: aux addresses
	Aux     map[string]netip.Addr `json:"aux,omitempty"`   // by name, known from the join on
	// Owed are the reservations that carry this pool's provisional entry.
	Owed []netip.Addr `json:"owed,omitempty"`
}

func (p Pool) key() Key { return Key{addressesBucket, "pool/" + p.ID} }

func (p Pool) leave(m *Memory) { delete(m.pools, p.ID) }

func (p Pool) enter(m *Memory) {
	if p.Parsed.Nonce == "" { // from the journal
		p.Parsed, _ = pool.ParseID(p.ID) // it was read before it got there
	}
	m.pools[p.ID] = p
	m.minted[p.Parsed.Nonce] = true
}

// ByManager reports whether the swarm's manager asks.
func (p Pool) ByManager() bool {
	_, manager := store.ManagerNetworkOf(p.Network)
	return manager
}

// ByWorker reports whether a worker asks, for one of the swarm's networks.
func (p Pool) ByWorker() bool { return store.IsSwarmID(p.Network) }

// Join is the pool as the network's.
func (p Pool) Join(network string, data pool.Data) Pool {
	p.Network, p.Aux = network, maps.Clone(data.Aux)
	p.Extra = slices.DeleteFunc(slices.Clone(p.Extra), func(addr netip.Addr) bool {
		return slices.Contains(slices.Collect(maps.Values(data.Aux)), addr)
	})
	if gateway := p.GatewayIn(data); gateway.IsValid() {
		p.Gateway = gateway
	}
	return p
}

// GatewayIn is the gateway that a network has by data: none where Docker only
// repeats a subnet's one address, which nobody gave as a gateway.
func (p Pool) GatewayIn(data pool.Data) netip.Addr {
	if data.Subnet.IsSingleIP() && !p.Asked {
		return netip.Addr{}
	}
	return data.Gateway
}

// Joined reports whether the pool is a network's.
func (p Pool) Joined() bool { return p.Network != "" }

// Reserved returns every address that is reserved for this pool, once each.
func (p Pool) Reserved() []netip.Addr {
	all := slices.Concat(p.Extra, slices.Collect(maps.Values(p.Aux)))
	if p.Gateway.IsValid() {
		all = append(all, p.Gateway)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// reserves reports whether an address is reserved for this pool.
func (p Pool) reserves(addr netip.Addr) bool {
	if p.Gateway == addr || slices.Contains(p.Extra, addr) {
		return true
	}
	for _, aux := range p.Aux {
		if aux == addr {
			return true
		}
	}
	return false
}

// Record is the pool as a definition keeps it.
func (p Pool) Record() store.Pool {
	id := p.Parsed
	return store.Pool{Subnet: id.Subnet, Range: id.Range, Gateway: p.Gateway, Aux: maps.Clone(p.Aux), Asked: p.Asked}
}

// By is the pool's entry in a reservation until a definition takes it over.
func (p Pool) By(node string) string { return store.PoolEntry(p.Parsed.Nonce, node) }

// Addressing is one of the engine's networks that pools were joined to.
type Addressing struct {
	ID string `json:"id"` // engine's

	// Of its definition, zero while it has none.
	UUID       string          `json:"uuid,omitempty"`
	Name       string          `json:"name,omitempty"`
	Overrides  store.Overrides `json:"overrides,omitzero"`
	Definition store.Revision  `json:"definition,omitempty"` // it was last modified at, when that is known
	// Options are its --ipam-opt: a pool that was rebuilt from its id has none
	// of its own.
	Options map[string]string `json:"options,omitempty"`

	// Waiting are pools CreateNetwork named that no RequestPool is known
	// for: the journal was lost. The next request joins them.
	Waiting []pool.Data `json:"waiting,omitempty"`
}

func (n Addressing) key() Key { return Key{addressesBucket, "network/" + n.ID} }

func (n Addressing) enter(m *Memory) { m.addressings[n.ID] = n }

func (n Addressing) leave(m *Memory) { delete(m.addressings, n.ID) }

// OptionsOf are the --ipam-opt of one of its pools: the pool's own, or the network's.
func (n Addressing) OptionsOf(p Pool) (pool.Options, error) {
	if len(p.Options) == 0 {
		return pool.ParseOptions(n.Options)
	}
	return pool.ParseOptions(p.Options)
}

// BlockIn is the length of the blocks that a subnet of one of the engine's networks is
// dealt out to hosts in (pool.Options.BlockIn); false: in none. It follows from
// what a network is made with alone, so that every host comes to the same answer. A
// swarm's has none: its manager chooses the addresses of all hosts; nor has one of this
// host alone.
func BlockIn(m *Memory, network string, subnet netip.Prefix) (bits int, ok bool) {
	made, known := m.Network(network)
	if !known || made.Stage == StageSwarm || made.Stage == StageLocal || made.Foreign {
		return 0, false
	}
	n, _ := m.Addressing(network)
	var of Pool
	for _, p := range m.Pools(func(p Pool) bool { return p.Network == network && !p.Closed && p.Parsed.Subnet == subnet }) {
		of = p
	}
	o, err := n.OptionsOf(of)
	if err != nil {
		return 0, false
	}
	return o.BlockIn(subnet, made.Options.Layer3())
}

// AddressesOf are an endpoint's addresses, with the fixed ones that it has besides.
func AddressesOf(m *Memory, e Endpoint) []netip.Addr {
	all := e.Addresses()
	for _, l := range m.LeasesOf(e.ID, Bound) {
		if l.Kind == store.Service {
			all = append(all, l.Address)
		}
	}
	return all
}

// Title is what people call the network.
func (n Addressing) Title() string {
	switch {
	case n.Name != "":
		return "network " + n.Name
	case n.ID != "":
		return "network " + n.ID[:min(len(n.ID), 12)]
	}
	return "this network"
}

// Unreserve forgets that an address is reserved for the pool.
func (p *Pool) Unreserve(addr netip.Addr) {
	p.Extra = Without(p.Extra, addr)
	if p.Gateway == addr {
		p.Gateway, p.Asked = netip.Addr{}, false
	}
}

// Without returns a copy: pools are copied freely and share their slices.
func Without(addrs []netip.Addr, addr netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(o netip.Addr) bool { return o == addr })
}
