package store

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Schema is the version of the records this package writes, and the highest that
// it reads. Only Meta says it: a record without one is of the first. A member more
// is no new schema, since who does not know it keeps it (Unknown).
const Schema = 1

// Meta says which cluster this is. It is written once.
type Meta struct {
	Schema int    `json:"schema"`
	UUID   string `json:"uuid"` // of the cluster; another uuid is another truth
	// After is the cluster in whose place it came, as the node knew that made
	// it; "" for the first one.
	After string `json:"after,omitempty"`

	Unknown `json:"-"`
}

// Epoch is a node's right to write. It is bumped once per agent start and by
// an eviction, and every write compares its modified revision.
type Epoch struct {
	Epoch   int64  `json:"epoch"`
	Install string `json:"install"`           // random uuid of the data directory
	Boot    string `json:"boot"`              // /proc/sys/kernel/random/boot_id
	Evicted bool   `json:"evicted,omitempty"` // set by an eviction, cleared by the next start
	// Returning: set by that start, and by every later one until the node has
	// taken its addresses again. An agent may die before it has.
	Returning bool   `json:"returning,omitempty"`
	Host      string `json:"host,omitempty"` // host name of who took it, for people
	// Former is the boot of this install that had the epoch before Boot came: of
	// this host before it was started anew, unless it shows up again. No host does
	// that after its next boot, so one of the two is a copy.
	Former string `json:"former,omitempty"`
	// Clone is the boot that Former had to take the epoch back from: a copy that
	// runs. It never has it again.
	Clone string `json:"clone,omitempty"`
	// Elder is the install whose name this was when another one took it, until
	// that one is settled (session.Session.Settle). Its owner may take the name back at
	// once.
	Elder string `json:"elder,omitempty"`

	Unknown `json:"-"`
}

// Live is there while a node's agent is connected; it hangs from an etcd
// lease and is never compared.
type Live struct {
	Install string `json:"install"`
	Host    string `json:"host"`             // host name
	Address string `json:"address"`          // that other nodes reach it by
	Gossip  string `json:"gossip,omitempty"` // host:port of its membership listener
	Since   int64  `json:"since"`            // unix seconds, of that host's clock; for people

	Unknown `json:"-"`
}

// Node describes a host. It outlives the agent and is never compared.
type Node struct {
	Node    string `json:"node"`
	Host    string `json:"host"`
	Address string `json:"address"`
	Gossip  string `json:"gossip,omitempty"`
	Version string `json:"version"`
	Engine  string `json:"engine,omitempty"` // version of its Docker engine
	Drained bool   `json:"drained,omitempty"`
	// Store is the host:port at which this host would serve the cluster's own
	// store to clients; "" where it can run no member.
	Store      string        `json:"store,omitempty"`
	Leaving    bool          `json:"leaving,omitempty"` // it hands its place in the store over and goes
	Interfaces []Interface   `json:"interfaces,omitempty"`
	Networks   []NodeNetwork `json:"networks,omitempty"`

	Unknown `json:"-"`
}

// HostAddresses returns the addresses of the node's own interfaces that can be
// met on a LAN, each with what people call the node.
func (n Node) HostAddresses() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, i := range n.Interfaces {
		for _, text := range i.Addresses {
			p, err := netip.ParsePrefix(text)
			if err == nil && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() {
				all[p.Addr()] = cmp.Or(n.Host, n.Node)
			}
		}
	}
	return all
}

// Interface is one link of a node's parents inventory.
type Interface struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"` // as ip -d link says: device, vlan, bond, bridge, dummy, ...
	Up        bool     `json:"up"`
	MTU       int      `json:"mtu"`
	Master    string   `json:"master,omitempty"` // bond or bridge it is enslaved to
	Parent    string   `json:"parent,omitempty"` // link it hangs from
	VLAN      int      `json:"vlan,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // CIDR
	Default   bool     `json:"default,omitempty"`   // holds the default route
	Wireless  bool     `json:"wireless,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	UsedBy    []string `json:"usedBy,omitempty"` // names of gvlan networks

	Unknown `json:"-"`
}

// NodeNetwork says how one definition fares on a node.
type NodeNetwork struct {
	UUID   string   `json:"uuid"`
	Name   string   `json:"name"`
	Engine string   `json:"engine,omitempty"` // the engine's network id; "" while there is none
	State  string   `json:"state"`            // of the node's journal: committed, replica, conflict, ...
	Parent string   `json:"parent,omitempty"` // that would be used now
	Why    string   `json:"why,omitempty"`    // why there is no replica or no parent
	Links  []string `json:"links,omitempty"`  // VLAN and dummy links made here
	// HostAccess is on, or off with why where the node's default does not apply; ""
	// is off.
	HostAccess string `json:"hostAccess,omitempty"`
	// HostRoutes is on where the node makes routes to other nodes' containers, or
	// off with why where the node's setting forbids them; "" is off.
	HostRoutes string `json:"hostRoutes,omitempty"`
	// Pools and Segment are those of a network of this node only, which has no
	// definition to say them.
	Pools   []Pool `json:"pools,omitempty"`
	Segment string `json:"segment,omitempty"`

	Unknown `json:"-"`
}

// Refs says which definitions the containers of a node refer to, running or
// stopped.
type Refs struct {
	Networks map[string][]string `json:"networks"` // definition uuid: container names
	Kept     []Kept              `json:"kept,omitempty"`

	Unknown `json:"-"`
}

// Kept is an address that a container which does not run will want again.
type Kept struct {
	Segment   string     `json:"segment"`
	Address   netip.Addr `json:"address"`
	Network   string     `json:"network"`   // uuid, as in Refs, also of one that has no definition
	Container string     `json:"container"` // the engine's id
	Name      string     `json:"name"`      // of the container
	Fixed     bool       `json:"fixed,omitempty"`
	// Gone: the container was removed, and the next one of its name is to have it.
	Gone bool `json:"gone,omitempty"`
	// Since is when the container stopped or was removed, in unix seconds of that
	// host's clock; 0 where its user gave the address.
	Since int64 `json:"since,omitempty"`

	Unknown `json:"-"`
}

// Endpoint is a container's attachment to a network, with everything a name
// needs. Addresses in it are CIDR of their subnet.
type Endpoint struct {
	Endpoint  string    `json:"endpoint"` // the engine's endpoint id
	Node      string    `json:"node"`
	Network   string    `json:"network"`        // definition uuid
	Name      string    `json:"name,omitempty"` // network's name, "" until known
	Segment   string    `json:"segment"`
	IPv4      string    `json:"ipv4,omitempty"`
	IPv6      string    `json:"ipv6,omitempty"`
	MAC       string    `json:"mac,omitempty"`
	Link      string    `json:"link,omitempty"`
	Parent    string    `json:"parent,omitempty"`
	Sandbox   string    `json:"sandbox,omitempty"` // the engine's SandboxKey; "" while not joined
	Since     int64     `json:"since"`             // unix seconds
	Container Container `json:"container"`
	// Wants are the addresses that it is to have besides, each when no other
	// endpoint has it; Fixed are those of them that it has.
	Wants []string `json:"wants,omitempty"`
	Fixed []string `json:"fixed,omitempty"`
	// Failover is how many seconds the LAN is silent about such an address before
	// it is taken from a host that is not connected; 0: an eviction is waited for.
	Failover int64 `json:"failover,omitempty"`

	Unknown `json:"-"`
}

// Addresses returns those it has, IPv4 first and the fixed ones last: the record
// has them as CIDR.
func (e Endpoint) Addresses() (all []netip.Addr) {
	for _, text := range append([]string{e.IPv4, e.IPv6}, e.Fixed...) {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, prefix.Addr())
		}
	}
	return all
}

// MAC says which endpoint has a hardware address that a user gave. It counts
// while that endpoint has a record, and is written by the endpoint's node.
type MAC struct {
	Node     string `json:"node"`
	Endpoint string `json:"endpoint"` // the engine's endpoint id

	Unknown `json:"-"`
}

// Is reports whether both are of one endpoint.
func (m MAC) Is(other MAC) bool { return m.Node == other.Node && m.Endpoint == other.Endpoint }

// Container is what the engine says of the container behind an endpoint;
// all zero until it was asked.
type Container struct {
	ID       string            `json:"id,omitempty"`
	Name     string            `json:"name,omitempty"`
	Hostname string            `json:"hostname,omitempty"` // only when the user set one
	Aliases  []string          `json:"aliases,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"` // com.docker.compose.*, com.docker.swarm.* and gvlan.* only
	Ports    []string          `json:"ports,omitempty"`  // exposed: "80/tcp"

	Unknown `json:"-"`
}

// LabelTask is the label of a task's container that has the task's name:
// SERVICE.SLOT.ID.
const LabelTask = "com.docker.swarm.task.name"

// Service is the name of the swarm's service that it is a task of, "" for none,
// whether it serves or not.
func (c Container) Service() string {
	name, _, _ := strings.Cut(c.Labels[LabelTask], ".")
	return name
}

// Removal is one node's answer to a definition in state removing, and then to
// its tombstone.
type Removal struct {
	Node string `json:"node"`
	Gone bool   `json:"gone"`           // no replica is left there
	Veto string `json:"veto,omitempty"` // why the definition must stay
	// At is the revision the definition was last modified at: an answer that
	// was written after the removal was turned back must not count for a
	// later one.
	At Revision `json:"at"`
	// Settled: nothing of the removed network is left on the node, neither in
	// its engine nor in its journal, so it needs the tombstone no more.
	Settled bool `json:"settled,omitempty"`

	Unknown `json:"-"`
}

// Tombstone is a definition that was removed, for nodes that were away and
// for a prune that is recognised late. It goes once every node of the cluster
// has settled it.
type Tombstone struct {
	Network Network `json:"network"`
	By      string  `json:"by"`    // node
	Since   int64   `json:"since"` // unix seconds

	Unknown `json:"-"`
}

// Quarantine says that an eviction left addresses of a node in quarantine. It
// stays until none is left.
type Quarantine struct {
	Node  string `json:"node"`
	Host  string `json:"host,omitempty"` // what people called it
	Since int64  `json:"since"`          // unix seconds; for people

	Unknown `json:"-"`
}

// DefaultPool is a subnet taken from the default pools. By holds definition
// uuids; while it is empty Node and Nonce say whose create took it.
type DefaultPool struct {
	Subnet string   `json:"subnet"`
	Node   string   `json:"node,omitempty"`
	Nonce  string   `json:"nonce,omitempty"`
	By     []string `json:"by,omitempty"`

	Unknown `json:"-"`
}

// GossipKeys are the membership's encryption keys, primary first.
type GossipKeys struct {
	Keys [][]byte `json:"keys"` // 32 bytes each

	Unknown `json:"-"`
}

// Encode writes a record as a store value: JSON, and a container's lease in its
// compact form.
func Encode[T any](record T) []byte {
	if l, is := any(&record).(*Lease); is && l.compactly() {
		if raw, ok := l.appendCompact(make([]byte, 0, 128)); ok {
			return raw
		}
	}
	raw, err := writeJSON(record)
	if err != nil {
		// Records are plain data of this package: marshalling one fails only
		// when the package is wrong.
		panic(fmt.Sprintf("store: encode %T: %v", record, err))
	}
	return raw
}

// Decode reads a record from a store value, ErrNewer for one that only a newer
// gvlan can read. A lease that an older one wrote is JSON, whatever it says.
func Decode[T any](it Item) (T, error) {
	var record T
	var err error
	l, is := any(&record).(*Lease)
	switch {
	case is && isCompact(it.Value):
		err = l.readCompact(it.Value)
	default:
		if err = readJSON(it.Value, &record); err == nil && is {
			err = l.readBeyond()
		}
	}
	if err != nil {
		return record, fmt.Errorf("read %s: %w", it.Key, err)
	}
	return record, nil
}

// A store that lost its past (made anew, or restored from an older copy) does
// not know which addresses are in use. Who finds it closes the gate: from then
// on nothing is given in the whole cluster until every node has written what it
// holds again, and somebody opened it (`gvlan recover`).

// Gate is there while nothing may be given: a transaction with Gives set
// compares that it is absent.
type Gate struct {
	Round string `json:"round"` // random uuid of this closing
	Node  string `json:"node"`  // that found the loss
	Why   string `json:"why"`
	Since int64  `json:"since"` // unix seconds, for people

	Unknown `json:"-"`
}

// Recovery is the last one that was brought to its end.
type Recovery struct {
	Count int64  `json:"count"` // higher than any that a node of the cluster knew before
	Round string `json:"round"`
	Node  string `json:"node"` // that opened the gate
	Since int64  `json:"since"`

	Unknown `json:"-"`
}

// Reasserted says that a node has written what it holds again.
type Reasserted struct {
	Node  string `json:"node"`
	Round string `json:"round"` // of the Gate
	Count int64  `json:"count"` // of the last Recovery the node knew

	Unknown `json:"-"`
}

// CautionTTL is how long after a recovery the LAN is asked before an address is
// given, in seconds: a container of a host that was left out may have it.
const CautionTTL = 600

// All reads every record of a span, in key order.
func All[T any](ctx context.Context, kv KV, span Span) ([]T, error) {
	items, _, err := kv.List(ctx, span)
	if err != nil {
		return nil, err
	}
	var all []T
	for _, it := range items {
		record, err := Decode[T](it)
		if err != nil {
			return nil, err
		}
		all = append(all, record)
	}
	return all, nil
}
