package driver

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/ipam/pool"
)

// replicaLabel marks the networks this agent made from a definition, for
// people and for a lost journal. Its value is the definition's uuid.
const replicaLabel = "gvlan.network"

// define joins what the engine says of a network with what the driver knows
// of its addresses: the engine hides gateways it chose itself.
func define(e engine.Network, n hostNetwork) store.Definition {
	return store.Definition{
		IPv4: n.IPv4, IPv6: n.IPv6,
		Internal: e.Internal, Attachable: e.Attachable,
		Options:     nonEmpty(e.Options),
		IPAMOptions: nonEmpty(e.IPAM.Options),
		Labels:      userLabels(e.Labels),
		Segment:     n.Segment,
		Pools:       slices.Clone(n.Pools),
	}
}

// userLabels are the labels without gvlan's own mark.
func userLabels(all map[string]string) map[string]string {
	labels := maps.Clone(all)
	maps.DeleteFunc(labels, func(k, _ string) bool { return k == replicaLabel })
	return nonEmpty(labels)
}

func nonEmpty(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// sameNetwork tells whether the engine's network is the defined one. A
// replica may carry options beyond it, which this host's own
// default-network-opts added.
func sameNetwork(def store.Definition, have store.Definition, replica bool) bool {
	if replica {
		have.Options = onlyKeys(have.Options, def.Options)
	}
	return def.Equal(have)
}

// samePools tells whether the pools the engine lists are the definition's. It
// lists them as the user gave them: without a gateway that was chosen, and
// not at all when the whole pool was.
func samePools(e engine.Network, def store.Definition) bool {
	for _, have := range e.IPAM.Pools {
		ok := slices.ContainsFunc(def.Pools, func(p store.Pool) bool {
			return have.Subnet.Masked() == p.Subnet && have.Range == p.Range && (!have.Gateway.IsValid() || have.Gateway == p.Gateway)
		})
		if !ok {
			return false
		}
	}
	return true
}

// extraOptions lists the options a host's defaults added to a replica.
func extraOptions(def, have store.Definition) []string {
	var extra []string
	for _, k := range slices.Sorted(maps.Keys(have.Options)) {
		if _, ok := def.Options[k]; !ok {
			extra = append(extra, k)
		}
	}
	return extra
}

func onlyKeys(m, keys map[string]string) map[string]string {
	kept := maps.Clone(m)
	maps.DeleteFunc(kept, func(k, _ string) bool { _, ok := keys[k]; return !ok })
	return nonEmpty(kept)
}

// definedOptions are what a definition's options mean. They stand over what
// this host's default-network-opts added to its replica, and over what an
// agent of an earlier version read in them.
func definedOptions(def store.Network) (Options, bool) {
	o, err := ParseOptions(def.Created.Options)
	o.Old = nil
	return o, err == nil
}

// outdated tells whether the journal's record says something else.
func outdated(have Options, def store.Network) bool {
	want, ok := definedOptions(def)
	have.Old = nil
	return ok && !reflect.DeepEqual(have, want)
}

// request is the engine call that makes a replica: everything is said
// explicitly, also what the first engine chose.
func request(driver string, n store.Network) engine.NetworkRequest {
	labels := maps.Clone(n.Created.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[replicaLabel] = n.UUID
	r := engine.NetworkRequest{
		Name: n.Name, Driver: driver,
		IPv4: n.Created.IPv4, IPv6: n.Created.IPv6,
		Internal: n.Created.Internal, Attachable: n.Created.Attachable,
		Labels: labels, Options: n.Created.Options,
		IPAM: engine.IPAM{Driver: driver, Options: n.Created.IPAMOptions},
	}
	for _, p := range n.Created.Pools {
		r.IPAM.Pools = append(r.IPAM.Pools, engine.Pool{Subnet: p.Subnet, Range: p.Range, Gateway: p.Gateway, Aux: p.Aux})
	}
	return r
}

// definedPools are a definition's pools as Docker tells them of a network.
func definedPools(def store.Definition) []pool.Data {
	var pools []pool.Data
	for _, p := range def.Pools {
		pools = append(pools, pool.Data{Space: pool.LocalSpace, Subnet: p.Subnet, Gateway: p.Gateway, Aux: p.Aux})
	}
	return pools
}

// droppedSubnets lists subnets the user gave that Docker did not use: without
// --ipv6 it ignores IPv6 subnets and says nothing.
func droppedSubnets(e engine.Network, n hostNetwork) []string {
	var dropped []string
	for _, asked := range e.IPAM.Pools {
		used := slices.ContainsFunc(n.Pools, func(p store.Pool) bool { return p.Subnet == asked.Subnet.Masked() })
		if !used && asked.Subnet.IsValid() {
			dropped = append(dropped, asked.Subnet.String())
		}
	}
	return dropped
}

// joinWords lists words with commas.
func joinWords(words []string) string { return strings.Join(words, ", ") }
