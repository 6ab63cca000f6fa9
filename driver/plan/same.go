package plan

import (
	"maps"
	"reflect"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/option"
)

// ReplicaLabel marks the networks this agent made from a definition, for
// people and for a lost journal. Its value is the definition's uuid.
const ReplicaLabel = "gvlan.network"

// Define joins what the engine says of a network with what the driver knows
// of its addresses: the engine hides gateways it chose itself.
func Define(e engine.Network, n journal.Network) store.Definition {
	return store.Definition{
		IPv4: n.IPv4, IPv6: n.IPv6,
		Internal: e.Internal, Attachable: e.Attachable,
		Options:     nonEmpty(e.Options),
		IPAMOptions: nonEmpty(e.IPAM.Options),
		Labels:      UserLabels(e.Labels),
		Segment:     n.Segment,
		Pools:       slices.Clone(n.Pools),
	}
}

// UserLabels are the labels without gvlan's own mark.
func UserLabels(all map[string]string) map[string]string {
	labels := maps.Clone(all)
	maps.DeleteFunc(labels, func(k, _ string) bool { return k == ReplicaLabel })
	return nonEmpty(labels)
}

func nonEmpty(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// same reports whether the engine's network is the defined one. A
// replica may carry options beyond it, which this host's own
// default-network-opts added.
func same(def store.Definition, have store.Definition, replica bool) bool {
	if replica {
		have.Options = onlyKeys(have.Options, def.Options)
	}
	return def.Equal(have)
}

// samePools reports whether the pools the engine lists are the definition's. It
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

// ExtraOptions lists the options a host's defaults added to a replica.
func ExtraOptions(def, have store.Definition) []string {
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

// OptionsOf are what a definition's options mean. They stand over what
// this host's default-network-opts added to its replica, and over what an
// agent of an earlier version read in them.
func OptionsOf(def store.Network) (option.Options, bool) {
	o, err := option.Parse(def.Created.Options)
	o.Old = nil
	return o, err == nil
}

// outdated reports whether the journal's record says something else.
func outdated(have option.Options, def store.Network) bool {
	want, ok := OptionsOf(def)
	have.Old = nil
	return ok && !reflect.DeepEqual(have, want)
}

// Request is the engine call that makes a replica: everything is said
// explicitly, also what the first engine chose.
func Request(driver string, n store.Network) engine.NetworkRequest {
	labels := maps.Clone(n.Created.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[ReplicaLabel] = n.UUID
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

// DroppedSubnets lists subnets the user gave that Docker did not use: without
// --ipv6 it ignores IPv6 subnets and says nothing.
func DroppedSubnets(e engine.Network, n journal.Network) []string {
	var dropped []string
	for _, asked := range e.IPAM.Pools {
		used := slices.ContainsFunc(n.Pools, func(p store.Pool) bool { return p.Subnet == asked.Subnet.Masked() })
		if !used && asked.Subnet.IsValid() {
			dropped = append(dropped, asked.Subnet.String())
		}
	}
	return dropped
}

// Restored is the journal's record as the definition lets it be known.
func Restored(def store.Network, e engine.Network) journal.Network {
	o, err := option.Parse(e.Options)
	if err != nil {
		o = option.Options{}
	}
	return journal.Network{
		ID: e.ID, Stage: journal.StageReplica, UUID: def.UUID, Name: e.Name, Options: o,
		IPv4: def.Created.IPv4, IPv6: e.IPv6, Internal: e.Internal,
		Segment: def.Created.Segment, Pools: def.Created.Pools, Overrides: def.Overrides,
	}
}

func equalOverrides(a, b store.Overrides) bool {
	sameParent := (a.Parent == nil) == (b.Parent == nil) && (a.Parent == nil || *a.Parent == *b.Parent)
	return sameParent && a.Cooldown == b.Cooldown && a.HostAccess == b.HostAccess && slices.Equal(a.Exclude, b.Exclude) && slices.Equal(a.Ranges, b.Ranges)
}
