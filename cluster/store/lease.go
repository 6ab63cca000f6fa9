package store

import "time"

// QuarantineRest is how long an evicted node's addresses rest at least before
// anybody else is given one.
const QuarantineRest = 10 * time.Minute

// LeaseState says what a Lease record means for its address.
type LeaseState string

const (
	// Leased: one holder has the address.
	Leased LeaseState = "lease"
	// Reserved: nobody may have it (gateway, aux, exclude); any number of
	// definitions may share the reservation.
	Reserved LeaseState = "reserved"
	// Quarantined: it was freed and rests before it is given again.
	Quarantined LeaseState = "quarantined"
)

// LeaseKind says how an address was asked for.
type LeaseKind string

const (
	// Dynamic: any free address was asked for.
	Dynamic LeaseKind = "dynamic"
	// Static: this very address was asked for (--ip).
	Static LeaseKind = "static"
)

// Lease is one address of a segment. It is written when the address is
// taken and once more when an endpoint is bound to it, and holds nothing a
// name needs. Its token is the revision the key was created at together
// with Nonce: a key that was deleted and made again has another.
type Lease struct {
	State    LeaseState `json:"state"`
	Kind     LeaseKind  `json:"kind,omitempty"`
	Node     string     `json:"node,omitempty"`
	Epoch    int64      `json:"epoch,omitempty"`
	Nonce    string     `json:"nonce,omitempty"`    // 128 random bits of the request, hex
	Network  string     `json:"network,omitempty"`  // definition uuid, or "engine:<id>" for a network that has none
	Endpoint string     `json:"endpoint,omitempty"` // "" while provisional
	Since    int64      `json:"since,omitempty"`    // unix seconds

	// By holds who needs a reservation: definition uuids, and
	// "pool:<nonce>@<node>" for a create that is not finished.
	By []string `json:"by,omitempty"`

	// Claims is set in swarm, where manager and worker each ask for and each
	// release one address.
	Claims *Claims `json:"claims,omitempty"`
}

// Claims are the two holders of a swarm lease; it is free when both are
// gone.
type Claims struct {
	Manager bool `json:"manager,omitempty"` // the swarm itself, not a node
	Worker  bool `json:"worker,omitempty"`  // Node and Endpoint of the lease
}

// Bound tells whether an endpoint has the address.
func (l Lease) Bound() bool { return l.State == Leased && l.Endpoint != "" }

// Provisional tells whether the address was asked for and no endpoint has
// confirmed it yet.
func (l Lease) Provisional() bool { return l.State == Leased && l.Endpoint == "" && l.Claims == nil }
