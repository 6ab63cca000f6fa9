package ipam

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// leaseState is how far this node's lease of an address has come.
type leaseState string

const (
	// given: Docker was answered with it; no endpoint has it yet.
	given leaseState = "given"
	// bound: an endpoint has it. A release is none before Unbind.
	bound leaseState = "bound"
	// unbound: its endpoint was deleted, its release is to come.
	unbound leaseState = "unbound"
	// releasing: it was released and the store may not know yet.
	releasing leaseState = "releasing"
)

// lease is this node's own lease of one address. It is only changed by who
// holds its place in the ledger.
type lease struct {
	Segment string          `json:"segment"`
	Address netip.Addr      `json:"address"`
	Nonce   string          `json:"nonce"`
	Created store.Revision  `json:"created,omitempty"` // 0: the reply was lost, or it is not known
	Kind    store.LeaseKind `json:"kind"`
	Since   int64           `json:"since"`             // unix seconds
	Network string          `json:"network,omitempty"` // engine's id; "" for a pool that was never joined
	Pool    string          `json:"pool"`              // PoolID it was given from
	State   leaseState      `json:"state"`
	// Endpoint has the address (bound), had it (unbound, releasing), or may
	// have it in the store although its Bind was refused (given).
	Endpoint string `json:"endpoint,omitempty"`
	// Reissued is set when it was given again while the store was away: then
	// it may be bound so too.
	Reissued bool `json:"reissued,omitempty"`
	// Claimed is set for a swarm worker's: the manager may have a claim on the
	// same record, which is therefore rewritten and never just replaced.
	Claimed bool `json:"claimed,omitempty"`
	// Doubt is set when a release of it may have reached the store: then it
	// may be somebody else's by now, and only the store can say.
	Doubt bool `json:"doubt,omitempty"`
}

func (l lease) place() pool.Place { return pool.At(l.Segment, l.Address) }

func (l lease) journalKey() string { return "lease/" + l.Segment + "/" + l.Address.String() }

func (l lease) enter(b *ledger) {
	b.leases[l.place()] = l
	setOf(b.held, l.Segment).Add(addrset.Single(l.Address))
}

func (l lease) leave(b *ledger) {
	delete(b.leases, l.place())
	setOf(b.held, l.Segment).Remove(addrset.Single(l.Address))
}

// endpointState is how the store's record of an endpoint stands.
type endpointState string

const (
	// written: the store has the record and the leases say so.
	written endpointState = "written"
	// unwritten: bound while the store was away; to be written.
	unwritten endpointState = "unwritten"
	// closing: deleted; the record is to go.
	closing endpointState = "closing"
)

// endpoint is one endpoint of this node as it was bound.
type endpoint struct {
	Record  store.Endpoint `json:"record"`
	Network string         `json:"network"` // engine's id
	State   endpointState  `json:"state"`
}

func (e endpoint) journalKey() string { return "endpoint/" + e.Record.Endpoint }

func (e endpoint) enter(b *ledger) { b.endpoints[e.Record.Endpoint] = e }

func (e endpoint) leave(b *ledger) { delete(b.endpoints, e.Record.Endpoint) }

// opened is one opened view on a subnet, from RequestPool until its network is
// gone.
type opened struct {
	ID      string            `json:"id"`
	id      pool.ID           // what ID says
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

func (p opened) journalKey() string { return "pool/" + p.ID }

func (p opened) leave(b *ledger) { delete(b.pools, p.ID) }

func (p opened) enter(b *ledger) {
	if p.id.Nonce == "" { // from the journal
		p.id, _ = pool.ParseID(p.ID) // it was read before it got there
	}
	b.pools[p.ID] = p
	b.minted[p.id.Nonce] = true
}

func (p opened) joined() bool { return p.Network != "" }

// reserved returns every address that is reserved for this pool, once each.
func (p opened) reserved() []netip.Addr {
	all := slices.Concat(p.Extra, slices.Collect(maps.Values(p.Aux)))
	if p.Gateway.IsValid() {
		all = append(all, p.Gateway)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// reserves reports whether an address is reserved for this pool.
func (p opened) reserves(addr netip.Addr) bool {
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

// record is the pool as a definition keeps it.
func (p opened) record() store.Pool {
	id := p.id
	return store.Pool{Subnet: id.Subnet, Range: id.Range, Gateway: p.Gateway, Aux: maps.Clone(p.Aux), Asked: p.Asked}
}

// by is the pool's entry in a reservation until a definition takes it over.
func (p opened) by(node string) string { return store.PoolEntry(p.id.Nonce, node) }

// network is one of the engine's networks that pools were joined to.
type network struct {
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

func (n network) journalKey() string { return "network/" + n.ID }

func (n network) enter(b *ledger) { b.networks[n.ID] = n }

func (n network) leave(b *ledger) { delete(b.networks, n.ID) }

// title is what people call the network.
func (n network) title() string {
	switch {
	case n.Name != "":
		return "network " + n.Name
	case n.ID != "":
		return "network " + short(n.ID)
	}
	return "this network"
}

// short is how Docker prints ids.
func short(id string) string { return id[:min(len(id), 12)] }

// mintNonce draws 128 random bits, in hex.
func mintNonce(random io.Reader) (string, error) {
	raw := make([]byte, 16)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("draw random bits: %w", err)
	}
	return hex.EncodeToString(raw), nil
}
