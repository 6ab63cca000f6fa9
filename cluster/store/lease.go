package store

import (
	"net/netip"
	"strings"
	"time"
)

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
	// Conflicted: somebody who is none of the cluster's answers for it on the LAN.
	// Its Conflict says who.
	Conflicted LeaseState = "conflict"
)

// LeaseKind says how an address was asked for.
type LeaseKind string

const (
	// Dynamic: any free address was asked for.
	Dynamic LeaseKind = "dynamic"
	// Static: this very address was asked for (--ip).
	Static LeaseKind = "static"
	// Service: an endpoint has it besides the one it was given, for as long as it
	// is there: the fixed address of a service (driver-opt gvlan.ip).
	Service LeaseKind = "service"
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
	Nonce    string     `json:"nonce,omitempty"`    // 64 random bits of the request, hex; 128 of an older gvlan
	Network  string     `json:"network,omitempty"`  // definition uuid, or EngineNetwork
	Endpoint string     `json:"endpoint,omitempty"` // "" while provisional
	Since    int64      `json:"since,omitempty"`    // unix seconds
	MAC      string     `json:"mac,omitempty"`      // of who has it, where that is nobody of the cluster

	// By holds who needs a reservation: definition uuids, and a PoolEntry
	// for a create that is not finished.
	By []string `json:"by,omitempty"`

	// Claims is set in swarm, where manager and worker each ask for and each
	// release one address.
	Claims *Claims `json:"claims,omitempty"`

	Unknown `json:"-"`
}

// Conflict is an address that somebody on the LAN has who is none of the cluster's.
// One that is free no container is given: its Conflict is written and deleted along
// with the Lease of that state, which every host's choice among free addresses goes
// by. One that a container has is in use twice.
type Conflict struct {
	Segment string     `json:"segment"`
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
	Vendor  string     `json:"vendor,omitempty"` // of the MAC, where the host that found it knows
	Node    string     `json:"node"`             // that found it
	Network string     `json:"network"`          // by name, that it was asked for
	Since   int64      `json:"since"`            // unix seconds
	Seen    int64      `json:"seen"`             // when it answered last, unix seconds
	Asked   int        `json:"asked,omitempty"`  // how often it has answered since

	// Of a container's address: who has it by right.
	Endpoint  string `json:"endpoint,omitempty"`  // the engine's id; "": it is free
	Holder    string `json:"holder,omitempty"`    // node of the container
	Container string `json:"container,omitempty"` // name

	Unknown `json:"-"`
}

// Cooldown is an address that a container left not long ago. It refuses nobody.
type Cooldown struct {
	Since int64 `json:"since"` // unix seconds

	Unknown `json:"-"`
}

// Claims are the two holders of a swarm lease; it is free when both are
// gone.
type Claims struct {
	Manager bool `json:"manager,omitempty"` // the swarm itself, not a node
	Worker  bool `json:"worker,omitempty"`  // Node and Endpoint of the lease
	// Made is of this claim of the manager's: 64 random bits, hex. One that ended
	// and was made anew has others; "" is of an older gvlan, or none.
	Made string `json:"made,omitempty"`

	Unknown `json:"-"`
}

// Bound reports whether an endpoint has the address.
func (l Lease) Bound() bool { return l.State == Leased && l.Endpoint != "" }

// Names that stand where a definition's uuid does, before there is one or
// beside it. A uuid has no colon.
const (
	poolPrefix    = "pool:"    // in Lease.By: a create that is not finished
	enginePrefix  = "engine:"  // in Lease.Network: a network without a definition
	managerPrefix = "manager:" // on a host: the side of the swarm's leader
	importPrefix  = "import:"  // on a host: a network that is being imported
)

// PoolEntry is the entry of a create that is not finished in the reservations
// it needs; nonce is hexadecimal and that of its pool.
func PoolEntry(nonce, node string) string { return poolPrefix + nonce + "@" + node }

// PoolOf reads an entry that PoolEntry made.
func PoolOf(entry string) (nonce, node string, ok bool) {
	rest, ok := strings.CutPrefix(entry, poolPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "@")
}

// EngineNetwork names the network of a lease that has no definition, by the
// engine's id of it.
func EngineNetwork(id string) string { return enginePrefix + id }

// EngineNetworkOf reads a name that EngineNetwork made.
func EngineNetworkOf(name string) (id string, ok bool) { return strings.CutPrefix(name, enginePrefix) }

// ManagerNetwork names the leader's side of a swarm network, which has pools of
// its own beside those of the worker on the same host.
func ManagerNetwork(id string) string { return managerPrefix + id }

// ManagerNetworkOf reads a name that ManagerNetwork made.
func ManagerNetworkOf(name string) (id string, ok bool) {
	return strings.CutPrefix(name, managerPrefix)
}

// ImportNetwork stands for the network of an import until the engine has the
// real one: the held addresses are its.
func ImportNetwork(uuid string) string { return importPrefix + uuid }

// ImportNetworkOf reads a name that ImportNetwork made.
func ImportNetworkOf(name string) (uuid string, ok bool) {
	return strings.CutPrefix(name, importPrefix)
}

// In a swarm one address is asked for twice and released twice: by the
// manager, which chooses it for a task or a service, and by the worker that
// runs the task. Both are claims on one lease, which is free when neither is
// left. The manager's claim belongs to the swarm and not to a node: every
// leader repeats it, and no eviction takes it. The worker's belongs to one
// endpoint of one node.

// swarmIDLength is that of a swarm network's id.
const swarmIDLength = 25

// IsSwarmID tells a swarm network's id (25 digits of base 36) from an engine's
// own (64 of base 16).
func IsSwarmID(id string) bool {
	notDigit := func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') }
	return len(id) == swarmIDLength && !strings.ContainsFunc(id, notDigit)
}
