package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

// planDefinition is for a definition, whether this host has it or not.
func (v View) planDefinition(def store.Row[store.Network], have index) []Step {
	if def.Record.Scope != store.ScopeGlobal {
		return nil
	}
	if def.Record.State == store.NetworkRemoving {
		return v.planRemoval(def)
	}
	return v.planReplica(def, have)
}

// planReplica makes what is missing here.
func (v View) planReplica(def store.Row[store.Network], have index) []Step {
	if v.SwarmOnly || have.concerned(def) {
		return nil
	}
	if e, ok := have.engine[def.Record.Name]; ok {
		return v.planUnclaimed(def, e)
	}
	driver, taken := v.Others[def.Record.Name]
	switch {
	case taken && v.Waiting(NameTaken(def.Record)), !taken && v.Waiting(ReplicaOf(def.Record)):
		return nil
	case taken:
		return []Step{{Do: Complain, Definition: def, Why: fmt.Sprintf("a network of driver %s has that name here", driver)}}
	}
	return []Step{{Do: Create, Definition: def}}
}

// index finds what this host has of a definition: a host may have thousands,
// and each is looked for.
type index struct {
	uuids, names map[string]bool           // of networks the journal has
	engine       map[string]engine.Network // of this driver, by name
}

func (v View) index() index {
	have := index{uuids: map[string]bool{}, names: map[string]bool{}, engine: map[string]engine.Network{}}
	for _, n := range v.Journal {
		have.uuids[n.UUID] = true
		if n.Stage != journal.StageGone {
			have.names[n.Name] = true
		}
		if e, listed := v.Engine[n.ID]; listed {
			have.names[e.Name] = true
		}
	}
	for _, e := range v.Engine {
		have.engine[e.Name] = e
	}
	return have
}

// concerned reports whether the journal has a network that stands for the
// definition or has its name: planNetwork decides about that one.
func (have index) concerned(def store.Row[store.Network]) bool {
	return have.uuids[def.Record.UUID] || have.names[def.Record.Name]
}

// planUnclaimed is for a network of ours that the journal does not know: the
// data directory was lost. It is taken back when it plainly is the defined
// one.
func (v View) planUnclaimed(def store.Row[store.Network], e engine.Network) []Step {
	n := Restored(def.Record, e)
	if !same(def.Record.Created, Define(e, n), e.Labels[ReplicaLabel] == def.Record.UUID) || !samePools(e, def.Record.Created) {
		return nil
	}
	return []Step{{Do: Adopt, Network: n, Engine: e, Definition: def}}
}

// planRemoval drives active -> removing -> tombstone: this node answers for
// itself, and whichever node sees every live node's answer ends it. A veto,
// or a reference from a node that is away, turns it back.
func (v View) planRemoval(def store.Row[store.Network]) []Step {
	answers := v.answers(def)
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		if why := answers[node].Veto; why != "" {
			return []Step{{Do: Revive, Definition: def, Why: why}}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(v.Refs)) {
		if names := v.Refs[node].Networks[def.Record.UUID]; node != v.Node && len(names) > 0 && !answers[node].Gone && !def.Record.Force {
			return []Step{{Do: Revive, Definition: def, Why: fmt.Sprintf("containers on node %s refer to it: %s", v.Hosts.Of(node), strings.Join(names, ", "))}}
		}
	}
	if !v.standsHere(def) && !answers[v.Node].Gone {
		return v.answer(def, "")
	}
	for _, node := range v.Live {
		if !answers[node].Gone {
			return nil
		}
	}
	if !answers[v.Node].Gone {
		return nil
	}
	return []Step{{Do: Bury, Definition: def}}
}

// planTombstones is for definitions that were removed. Each node says when it
// needs a tombstone no more, as an answer that outlives the removal; when all
// have, those that were away too, the first of the live nodes takes it away.
func (v View) planTombstones() []Step {
	var steps []Step
	for _, uuid := range slices.Sorted(maps.Keys(v.Tombstones)) {
		grave := v.Tombstones[uuid]
		step := Step{Definition: store.Row[store.Network]{
			Key: grave.Key, Record: grave.Record.Network, Created: grave.Created, Modified: grave.Modified,
		}}
		switch {
		case !v.settled(grave, v.Node):
			if !v.remembers(uuid) {
				step.Do = Settle
				steps = append(steps, step)
			}
		case v.sweeps() && !slices.ContainsFunc(slices.Concat(v.Live, v.Known), func(node string) bool { return !v.settled(grave, node) }):
			step.Do = Clear
			steps = append(steps, step)
		}
	}
	return steps
}

// sweeps reports whether this node does what one node has to do for all.
func (v View) sweeps() bool { return len(v.Live) > 0 && v.Live[0] == v.Node }

// settled reports whether a node said that it needs this tombstone no more.
func (v View) settled(grave store.Row[store.Tombstone], node string) bool {
	answer := v.Removals[grave.Record.Network.UUID][node]
	return answer.Settled && answer.At == grave.Modified
}

// remembers reports whether anything here may still ask what became of a
// definition: a network of the journal or the engine, an import, or what a
// stopped container keeps.
func (v View) remembers(uuid string) bool {
	if slices.ContainsFunc(v.Journal, func(n journal.Network) bool { return n.UUID == uuid }) || slices.Contains(v.Imports, uuid) {
		return true
	}
	for _, e := range v.Engine {
		if e.Labels[ReplicaLabel] == uuid {
			return true
		}
	}
	refs := v.Refs[v.Node]
	return len(refs.Networks[uuid]) > 0 || slices.ContainsFunc(refs.Kept, func(k store.Kept) bool { return k.Network == uuid && !k.Gone })
}

// planAnswers is for the answers to removals that ended, one way or the other,
// and left no tombstone: the first of the live nodes takes them away. They are
// no part of the step that ended it, which etcd bounds to 128 operations and a
// cluster does not.
func (v View) planAnswers() []Step {
	if !v.sweeps() {
		return nil
	}
	var steps []Step
	for _, uuid := range slices.Sorted(maps.Keys(v.Removals)) {
		if def, ok := v.byUUID(uuid); (!ok || def.Record.State != store.NetworkRemoving) && !v.buried(uuid) {
			steps = append(steps, Step{Do: Sweep, Definition: store.Row[store.Network]{Record: store.Network{UUID: uuid}}})
		}
	}
	return steps
}

// standsHere reports whether this host's engine still has the replica.
func (v View) standsHere(def store.Row[store.Network]) bool {
	return slices.ContainsFunc(v.Journal, func(n journal.Network) bool {
		_, listed := v.Engine[n.ID]
		return n.UUID == def.Record.UUID && listed
	})
}

// answers are the nodes' answers to this removal of the definition, not to an
// earlier one.
func (v View) answers(def store.Row[store.Network]) map[string]store.Removal {
	all := maps.Clone(v.Removals[def.Record.UUID])
	maps.DeleteFunc(all, func(_ string, r store.Removal) bool { return r.At != def.Modified })
	return all
}

// answer is this node's Removal, unless it was given already.
func (v View) answer(def store.Row[store.Network], veto string) []Step {
	if have, ok := v.answers(def)[v.Node]; ok && have.Veto == veto && have.Gone == (veto == "") {
		return nil
	}
	return []Step{{Do: Answer, Definition: def, Why: veto}}
}
