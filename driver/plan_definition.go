package driver

import (
	"fmt"
	"maps"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
)

// planDefinition is for a definition, whether this host has it or not.
func (v view) planDefinition(def row[store.Network], have index) []step {
	if def.Record.Scope != store.ScopeGlobal {
		return nil
	}
	if def.Record.State == store.NetworkRemoving {
		return v.planRemoval(def)
	}
	return v.planReplica(def, have)
}

// planReplica makes what is missing here.
func (v view) planReplica(def row[store.Network], have index) []step {
	if v.swarmOnly || have.concerned(def) {
		return nil
	}
	if e, ok := have.engine[def.Record.Name]; ok {
		return v.planUnclaimed(def, e)
	}
	driver, taken := v.others[def.Record.Name]
	switch {
	case taken && v.waiting(nameTaken(def.Record)), !taken && v.waiting(replicaOf(def.Record)):
		return nil
	case taken:
		return []step{{do: doComplain, definition: def, why: fmt.Sprintf("a network of driver %s has that name here", driver)}}
	}
	return []step{{do: doCreate, definition: def}}
}

// index finds what this host has of a definition: a host may have thousands,
// and each is looked for.
type index struct {
	uuids, names map[string]bool           // of networks the journal has
	engine       map[string]engine.Network // of this driver, by name
}

func (v view) index() index {
	have := index{uuids: map[string]bool{}, names: map[string]bool{}, engine: map[string]engine.Network{}}
	for _, n := range v.journal {
		have.uuids[n.UUID] = true
		if n.Stage != StageGone {
			have.names[n.Name] = true
		}
		if e, listed := v.engine[n.ID]; listed {
			have.names[e.Name] = true
		}
	}
	for _, e := range v.engine {
		have.engine[e.Name] = e
	}
	return have
}

// concerned tells whether the journal has a network that stands for the
// definition or has its name: planNetwork decides about that one.
func (have index) concerned(def row[store.Network]) bool {
	return have.uuids[def.Record.UUID] || have.names[def.Record.Name]
}

// planUnclaimed is for a network of ours that the journal does not know: the
// data directory was lost. It is taken back when it plainly is the defined
// one.
func (v view) planUnclaimed(def row[store.Network], e engine.Network) []step {
	n := restored(def.Record, e)
	if !sameNetwork(def.Record.Created, define(e, n), e.Labels[replicaLabel] == def.Record.UUID) || !samePools(e, def.Record.Created) {
		return nil
	}
	return []step{{do: doAdopt, network: n, engine: e, definition: def}}
}

// restored is the journal's record as the definition lets it be known.
func restored(def store.Network, e engine.Network) hostNetwork {
	o, err := ParseOptions(e.Options)
	if err != nil {
		o = Options{}
	}
	return hostNetwork{
		ID: e.ID, Stage: StageReplica, UUID: def.UUID, Name: e.Name, Options: o,
		IPv4: def.Created.IPv4, IPv6: e.IPv6, Internal: e.Internal,
		Segment: def.Created.Segment, Pools: def.Created.Pools, Overrides: def.Overrides,
	}
}

// planRemoval drives active -> removing -> tombstone: this node answers for
// itself, and whichever node sees every live node's answer ends it. A veto,
// or a reference from a node that is away, turns it back.
func (v view) planRemoval(def row[store.Network]) []step {
	answers := v.answers(def)
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		if why := answers[node].Veto; why != "" {
			return []step{{do: doRevive, definition: def, why: why}}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(v.refs)) {
		if names := v.refs[node].Networks[def.Record.UUID]; node != v.node && len(names) > 0 && !answers[node].Gone && !def.Record.Force {
			return []step{{do: doRevive, definition: def, why: fmt.Sprintf("containers on node %s refer to it: %s", v.hosts.of(node), joinWords(names))}}
		}
	}
	if !v.standsHere(def) && !answers[v.node].Gone {
		return v.answer(def, "")
	}
	for _, node := range v.live {
		if !answers[node].Gone {
			return nil
		}
	}
	if !answers[v.node].Gone {
		return nil
	}
	return []step{{do: doBury, definition: def}}
}

// planAnswers is for the answers to removals that ended, one way or the other:
// the first of the live nodes takes them away. They are no part of the step
// that ended it, which etcd bounds to 128 operations and a cluster does not.
func (v view) planAnswers() []step {
	if len(v.live) == 0 || v.live[0] != v.node {
		return nil
	}
	var steps []step
	for _, uuid := range slices.Sorted(maps.Keys(v.removals)) {
		if def, ok := v.byUUID(uuid); !ok || def.Record.State != store.NetworkRemoving {
			steps = append(steps, step{do: doSweep, definition: row[store.Network]{Record: store.Network{UUID: uuid}}})
		}
	}
	return steps
}

// standsHere tells whether this host's engine still has the replica.
func (v view) standsHere(def row[store.Network]) bool {
	return slices.ContainsFunc(v.journal, func(n hostNetwork) bool {
		_, listed := v.engine[n.ID]
		return n.UUID == def.Record.UUID && listed
	})
}

// answers are the nodes' answers to this removal of the definition, not to an
// earlier one.
func (v view) answers(def row[store.Network]) map[string]store.Removal {
	all := maps.Clone(v.removals[def.Record.UUID])
	maps.DeleteFunc(all, func(_ string, r store.Removal) bool { return r.At != def.Modified })
	return all
}

// answer is this node's Removal, unless it was given already.
func (v view) answer(def row[store.Network], veto string) []step {
	if have, ok := v.answers(def)[v.node]; ok && have.Veto == veto && have.Gone == (veto == "") {
		return nil
	}
	return []step{{do: doAnswer, definition: def, why: veto}}
}

func equalOverrides(a, b store.Overrides) bool {
	sameParent := (a.Parent == nil) == (b.Parent == nil) && (a.Parent == nil || *a.Parent == *b.Parent)
	return sameParent && a.Cooldown == b.Cooldown && slices.Equal(a.Exclude, b.Exclude) && slices.Equal(a.Ranges, b.Ranges)
}
