package survey

import (
	"net/netip"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Network is one whose containers have addresses.
type Network struct {
	UUID    string
	Name    string
	Engine  string // the engine's id, of a network of one host
	Node    string // the only one that has it; "": it is the cluster's
	Segment string
	Subnets []Subnet
}

// Subnet is one of a network, with what its containers are given of it.
type Subnet struct {
	Network  *Network
	Pool     store.Pool
	ranges   *addrset.Set // where addresses are given from that nobody asked for
	excluded *addrset.Set // exclude=
}

// Networks are those of a cluster.
type Networks struct {
	all   []*Network
	named map[string]*Network // by what a lease calls its network
}

// NewNetworks reads the cluster's definitions, and the networks of single hosts
// from what those say of themselves: which of their addresses are excluded they
// do not.
func NewNetworks(definitions []store.Network, nodes []store.Node) *Networks {
	ns := &Networks{named: map[string]*Network{}}
	for _, d := range definitions {
		n := &Network{UUID: d.UUID, Name: d.Name, Segment: d.Created.Segment}
		options, err := pool.ParseOptions(d.Created.IPAMOptions)
		if err != nil {
			options = pool.Options{} // a newer gvlan's: what this one knows of the network stands
		}
		exclude, _ := options.Excluding(d.Overrides.Exclude) // a newer gvlan's likewise
		ns.add(n, d.Created.Pools, exclude, d.Overrides.Ranges)
	}
	for _, node := range nodes {
		for _, fares := range node.Networks {
			if len(fares.Pools) == 0 {
				continue
			}
			ns.add(&Network{UUID: fares.UUID, Name: fares.Name, Engine: fares.Engine, Node: node.Node, Segment: fares.Segment}, fares.Pools, nil, nil)
		}
	}
	return ns
}

func (ns *Networks) add(n *Network, pools []store.Pool, exclude []addrset.Interval, added []netip.Prefix) {
	ns.all = append(ns.all, n)
	n.Subnets = make([]Subnet, len(pools))
	for i, p := range pools {
		s := &n.Subnets[i]
		*s = Subnet{Network: n, Pool: p, ranges: &addrset.Set{}, excluded: &addrset.Set{}}
		for _, r := range exclude {
			if r.Overlaps(addrset.Of(p.Subnet)) {
				s.excluded.Add(r)
			}
		}
		if !p.Range.IsValid() {
			s.ranges.Add(addrset.Of(p.Subnet))
		} else {
			s.ranges.Add(addrset.Of(p.Range))
			for _, r := range added {
				if pool.CheckRange(r, p.Subnet) == nil {
					s.ranges.Add(addrset.Of(r))
				}
			}
		}
	}
	for _, name := range []string{n.UUID, store.EngineNetwork(n.Engine)} {
		if name != "" && ns.named[name] == nil {
			ns.named[name] = n
		}
	}
}

// All are the networks, those of the cluster first.
func (ns *Networks) All() []*Network { return ns.all }

// Called is the network that a lease or a reservation calls so; nil: none is
// known.
func (ns *Networks) Called(name string) *Network { return ns.named[name] }

// Named are the networks of a name: two hosts may have one of their own each.
func (ns *Networks) Named(name string) (all []*Network) {
	for _, n := range ns.all {
		if n.Name == name {
			all = append(all, n)
		}
	}
	return all
}

// Holding are the subnets that have an address.
func (ns *Networks) Holding(addr netip.Addr) (all []*Subnet) {
	for _, n := range ns.all {
		for i := range n.Subnets {
			if n.Subnets[i].Pool.Subnet.Contains(addr) {
				all = append(all, &n.Subnets[i])
			}
		}
	}
	return all
}

// NameOf is what people call a network of a segment that has an address; "" where
// none has.
func (ns *Networks) NameOf(segment string, addr netip.Addr) string {
	for _, sub := range ns.Holding(addr) {
		if sub.Network.Segment == segment {
			return sub.Network.Name
		}
	}
	return ""
}

// role is what an address is to the subnet's network: its gateway, an auxiliary
// address with its name, excluded, or none that a container can have; State is
// Free where it is nothing but an address.
func (s *Subnet) role(addr netip.Addr) (state State, why string) {
	if s.Pool.Gateway == addr {
		return Gateway, ""
	}
	for name, aux := range s.Pool.Aux {
		if aux == addr {
			return Auxiliary, strings.TrimSpace(name)
		}
	}
	switch what := pool.UnusableIn(s.Pool.Subnet, addr); {
	case what != "":
		return Unusable, "it is the " + what + " of " + s.Pool.Subnet.String()
	case s.excluded.Has(addr):
		return Excluded, "network " + s.Network.Name + " never gives it (exclude=)"
	case !s.ranges.Has(addr):
		return Free, "it is given to who asks for it (--ip) only: it lies outside the network's --ip-range"
	}
	return Free, ""
}

// kept are the addresses of the ranges that no container is given, whoever asks:
// a set of some intervals, however large the subnet is.
func (s *Subnet) kept(hosts *addrset.Set) *addrset.Set {
	kept := &addrset.Set{}
	for r := range s.excluded.Intervals() {
		kept.Add(r)
	}
	for h := range hosts.Intervals() {
		if h.Overlaps(addrset.Of(s.Pool.Subnet)) {
			kept.Add(h)
		}
	}
	for _, addr := range []netip.Addr{s.Pool.Subnet.Addr(), pool.LastOf(s.Pool.Subnet)} {
		if pool.UnusableIn(s.Pool.Subnet, addr) != "" {
			kept.Add(addrset.Single(addr))
		}
	}
	if s.Pool.Gateway.IsValid() {
		kept.Add(addrset.Single(s.Pool.Gateway))
	}
	for _, aux := range s.Pool.Aux {
		kept.Add(addrset.Single(aux))
	}
	return kept
}
