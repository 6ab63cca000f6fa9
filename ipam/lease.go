package ipam

import (
	"net/netip"

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
	b.heldIn(l.Segment).Add(addrset.Single(l.Address))
}

func (l lease) leave(b *ledger) {
	delete(b.leases, l.place())
	b.heldIn(l.Segment).Remove(addrset.Single(l.Address))
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
