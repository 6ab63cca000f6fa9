package store

import (
	"maps"
	"net/netip"
	"slices"
)

// NetworkState is where a definition is in its life.
type NetworkState string

const (
	// NetworkActive: replicas are made and endpoints may start.
	NetworkActive NetworkState = "active"
	// NetworkRemoving: every live node removes its replica and answers with
	// a Removal; nothing starts on it.
	NetworkRemoving NetworkState = "removing"
)

// NetworkScope is how far a definition reaches.
type NetworkScope string

const (
	// ScopeGlobal: made once, replicated to every node.
	ScopeGlobal NetworkScope = "global"
	// ScopeSwarm: made by the swarm's manager, replicated by the swarm.
	ScopeSwarm NetworkScope = "swarm"
)

// Network is a definition: a network of the whole cluster.
type Network struct {
	UUID  string       `json:"uuid"`
	Name  string       `json:"name"`
	State NetworkState `json:"state"`
	// Force goes with state removing: each node disconnects its containers
	// instead of saying no.
	Force     bool         `json:"force,omitempty"`
	Scope     NetworkScope `json:"scope"`
	Origin    string       `json:"origin"` // node whose engine it was made on
	Since     int64        `json:"since"`  // unix seconds
	Created   Definition   `json:"created"`
	Overrides Overrides    `json:"overrides,omitzero"`
	// Renewed counts how often somebody made the network again on a host that was
	// about to remove it: what other hosts were told to remove before is void.
	Renewed int64 `json:"renewed,omitempty"`

	Unknown `json:"-"`
}

// Definition is what Docker was told, joined with what it was answered (the
// true pools and gateways). It never changes; replicas are made from it.
type Definition struct {
	IPv4        bool              `json:"ipv4"`
	IPv6        bool              `json:"ipv6"`
	Internal    bool              `json:"internal,omitempty"`
	Attachable  bool              `json:"attachable,omitempty"`
	Options     map[string]string `json:"options,omitempty"` // -o
	IPAMOptions map[string]string `json:"ipamOptions,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Segment     string            `json:"segment"`
	Pools       []Pool            `json:"pools"`

	Unknown `json:"-"`
}

// Pool is one subnet of a definition.
type Pool struct {
	Subnet  netip.Prefix          `json:"subnet"`           // masked
	Range   netip.Prefix          `json:"range,omitzero"`   // dynamic addresses come from here; zero: the subnet
	Gateway netip.Addr            `json:"gateway,omitzero"` // zero: none
	Aux     map[string]netip.Addr `json:"aux,omitempty"`    // reserved addresses by their name
	// Asked is set when the user gave the gateway, so that replicas and
	// comparisons know a chosen one from one that Docker insisted on.
	Asked bool `json:"asked,omitempty"`

	Unknown `json:"-"`
}

// Overrides is what `gvlan network set` changed. A zero field overrides
// nothing.
type Overrides struct {
	Parent   *string        `json:"parent,omitempty"`
	Exclude  []string       `json:"exclude,omitempty"`  // addresses, ranges a-b or prefixes
	Ranges   []netip.Prefix `json:"ranges,omitempty"`   // added to the pools' own
	Cooldown string         `json:"cooldown,omitempty"` // a Go duration
	// HostAccess is on or off: whether hosts and their own containers reach each other.
	HostAccess string `json:"hostAccess,omitempty"`

	Unknown `json:"-"`
}

// Equal reports whether two definitions ask for the same network. The order
// of pools carries no meaning: Docker's CLI sends them in random order.
func (d Definition) Equal(o Definition) bool {
	return d.IPv4 == o.IPv4 && d.IPv6 == o.IPv6 &&
		d.Internal == o.Internal && d.Attachable == o.Attachable &&
		d.Segment == o.Segment &&
		maps.Equal(d.Options, o.Options) &&
		maps.Equal(d.IPAMOptions, o.IPAMOptions) &&
		maps.Equal(d.Labels, o.Labels) &&
		slices.EqualFunc(sortedPools(d.Pools), sortedPools(o.Pools), Pool.equal)
}

func (p Pool) equal(o Pool) bool {
	return p.Subnet == o.Subnet && p.Range == o.Range && p.Gateway == o.Gateway && maps.Equal(p.Aux, o.Aux)
}

func sortedPools(pools []Pool) []Pool {
	return slices.SortedFunc(slices.Values(pools), func(a, b Pool) int {
		if c := a.Subnet.Addr().Compare(b.Subnet.Addr()); c != 0 {
			return c
		}
		return a.Subnet.Bits() - b.Subnet.Bits()
	})
}
