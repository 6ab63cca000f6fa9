package journal

import (
	"cmp"
	"net/netip"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/option"
	"gvlan/driver/visible"
)

// Stage is where a network of this host's engine stands towards the
// cluster.
type Stage string

const (
	// StageSeen: Docker made it here; its name is not committed yet.
	StageSeen Stage = "seen"
	// StageCommitted: made here, and the definition is this one's.
	StageCommitted Stage = "committed"
	// StageReplica: made by this agent from a definition, or found equal to
	// one.
	StageReplica Stage = "replica"
	// StageGone: Docker deleted it; what that means for the definition is
	// not settled yet.
	StageGone Stage = "gone"
	// StageConflict: another definition has its name; it works on this host
	// only.
	StageConflict Stage = "conflict"
	// StageOrphaned: its definition was removed while containers here still
	// refer to it.
	StageOrphaned Stage = "orphaned"
	// StageLocal: asked for as local; it never becomes a definition.
	StageLocal Stage = "local"
	// StageSwarm: the swarm replicates it.
	StageSwarm Stage = "swarm"
)

// Network is one network of this host's engine, as the journal keeps it.
type Network struct {
	ID       string         `json:"id"` // the engine's
	Stage    Stage          `json:"stage"`
	UUID     string         `json:"uuid"` // of its definition; minted when Docker made the network
	Name     string         `json:"name,omitempty"`
	Options  option.Options `json:"options"`
	IPv4     bool           `json:"ipv4"`
	IPv6     bool           `json:"ipv6"`
	Internal bool           `json:"internal,omitempty"`
	Foreign  bool           `json:"foreign,omitempty"` // addresses come from another IPAM driver
	Segment  string         `json:"segment"`
	Pools    []store.Pool   `json:"pools,omitempty"`
	Links    []string       `json:"links,omitempty"` // VLAN and dummy links it uses on this host, outermost tag first
	// Given are VLAN links, by the names this agent would give them, that
	// others had made when the network first used them: it never makes those.
	Given []string `json:"given,omitempty"`
	// Overrides are what the definition's `network set` changed, as last seen.
	Overrides store.Overrides `json:"overrides,omitzero"`
	// Renewed is the definition's, as last seen.
	Renewed int64 `json:"renewed,omitempty"`
	// MACs are those that stopped containers, by id, asked for when they last ran
	// on it: no engine tells them of any network but a container's first.
	MACs     map[string]string `json:"macs,omitempty"`
	Why      string            `json:"why,omitempty"`      // of a conflict or an orphan, for people
	NameLost bool              `json:"nameLost,omitempty"` // to another definition, before any container ran on it
	Removing bool              `json:"removing,omitempty"` // this agent itself is deleting it
	Since    int64             `json:"since"`              // it is in this stage, unix milliseconds
}

// SinceTime is Since as a time.
func (n Network) SinceTime() time.Time { return time.UnixMilli(n.Since) }

// Isolated reports whether the network has no way out of its hosts' LAN port.
func (n Network) Isolated() bool { return n.Options.Isolated(n.Internal) }

// Bound reports whether the network stands, or stood until just now, for a
// definition.
func (n Network) Bound() bool {
	return n.Stage == StageCommitted || n.Stage == StageReplica || n.Stage == StageGone
}

// SettleGateway says which gateway a pool of the network really has. Engines
// before 28 insist on an address also where there is none; the pool then
// keeps it as a reservation and nobody is told to route there.
func (n Network) SettleGateway(pool store.Pool) store.Pool {
	if pool.Asked || n.Options.HasGateway(n.Internal) {
		return pool
	}
	pool.Gateway = netip.Addr{}
	return pool
}

// GatewayFor is the default gateway of an endpoint's address, or the zero
// Addr.
func (n Network) GatewayFor(addr netip.Prefix) netip.Addr {
	if !addr.IsValid() || !n.Options.HasGateway(n.Internal) {
		return netip.Addr{}
	}
	for _, pool := range n.Pools {
		if pool.Subnet.Bits() == addr.Bits() && pool.Subnet.Contains(addr.Addr()) {
			return pool.Gateway
		}
	}
	return netip.Addr{}
}

// Subnets are those of the network's pools.
func (n Network) Subnets() []netip.Prefix {
	var all []netip.Prefix
	for _, pool := range n.Pools {
		all = append(all, pool.Subnet)
	}
	return all
}

// IsManager reports whether it is the leader's side of a swarm's network, not a
// worker's.
func (n Network) IsManager() bool { return n.ID == store.ManagerNetwork(n.UUID) }

// Defaults is what a host's agent is set to, for networks that say nothing of it.
type Defaults struct {
	HostAccess bool // hosts and their own containers reach each other
	NoRoutes   bool // this host makes no routes to other hosts' containers, whatever a network says
}

// HostAccess reports whether the network's containers and their host reach each
// other: by what it was set to, by its option, or by default: as the agent is set, and
// where hosts have routes to each other's containers. Where the agent's default does
// not apply, why says so.
func (n Network) HostAccess(d Defaults) (on bool, why string) {
	said := cmp.Or(option.HostAccess(n.Overrides.HostAccess), n.Options.HostAccess)
	between, _ := n.RoutesHosts(d)
	if said != "" || !d.HostAccess && !between {
		return said == option.HostAccessOn, ""
	}
	why = option.NoHostAccess(n.Options)
	if why == "" && n.Internal {
		why = "an internal network has it only by -o host-access=on"
	}
	if !d.HostAccess {
		return why == "", "" // nobody asked for it
	}
	return why == "", why
}

// RoutesHosts reports whether this host has routes to containers of the network on
// other hosts: where it routes, is of more than one host and leads out, unless its
// option or the agent says no. Where the agent does, why says so.
func (n Network) RoutesHosts(d Defaults) (on bool, why string) {
	many := n.Bound() || n.Stage == StageSwarm || n.Stage == StageSeen
	if !many || n.IsManager() || n.Isolated() || !n.Options.Layer3() || n.Options.HostRoutes == option.HostRoutesOff {
		return false, ""
	}
	if d.NoRoutes {
		return false, "--routes off"
	}
	return true, ""
}

// Title is what messages call the network.
func (n Network) Title() string {
	if n.Name != "" {
		return n.Name
	}
	return visible.ID(n.ID)
}

// Endpoint is one endpoint of this host, as the journal keeps it.
type Endpoint struct {
	ID       string       `json:"id"`
	Network  string       `json:"network"` // the engine's network id
	IPv4     netip.Prefix `json:"ipv4,omitzero"`
	IPv6     netip.Prefix `json:"ipv6,omitzero"`
	MAC      string       `json:"mac,omitempty"`
	Link     string       `json:"link,omitempty"`    // "" until joined
	Parent   string       `json:"parent,omitempty"`  // the link it hangs from
	Chosen   string       `json:"chosen,omitempty"`  // the candidates Parent was chosen from
	Sandbox  string       `json:"sandbox,omitempty"` // SandboxKey; "" while not joined
	MACAsked bool         `json:"macAsked,omitempty"`
	IfName   string       `json:"ifname,omitempty"` // that the user gave; "": none
	Unheeded []string     `json:"unheeded,omitempty"`
	Since    int64        `json:"since"` // unix milliseconds
	// Born is Since of an endpoint that this agent made, by a clock that nobody
	// sets; zero of one that an earlier agent made.
	Born      time.Time       `json:"-"`
	Container store.Container `json:"container"`
	// StopSignal ends the container, in Docker's words; "" is TERM. Stopping is
	// that it was sent.
	StopSignal string `json:"stop_signal,omitempty"`
	Stopping   bool   `json:"stopping,omitempty"`
	// Wants are the addresses that it is to have besides, as their subnets have
	// them, and Failover when they are taken over (option.EndpointOptions); which
	// of them it has is told by the leases.
	Wants    []netip.Prefix `json:"wants,omitempty"`
	Failover time.Duration  `json:"failover,omitempty"`
}

// Addresses are the endpoint's addresses without their subnets.
func (e Endpoint) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if p.IsValid() {
			all = append(all, p.Addr())
		}
	}
	return all
}

// The buckets of a Memory. Those of leases, pools and what belongs to them is
// one, by kind.
const (
	networksBucket  = "networks"
	endpointsBucket = "endpoints"
	addressesBucket = "addresses"
)

func (n Network) key() Key        { return Key{networksBucket, n.ID} }
func (n Network) enter(m *Memory) { m.networks[n.ID] = n }
func (n Network) leave(m *Memory) { delete(m.networks, n.ID) }

func (e Endpoint) key() Key        { return Key{endpointsBucket, e.ID} }
func (e Endpoint) enter(m *Memory) { m.endpoints[e.ID] = e }
func (e Endpoint) leave(m *Memory) { delete(m.endpoints, e.ID) }
