package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

func (v View) planNetwork(n journal.Network) []Step {
	e, listed := v.Engine[n.ID]
	if n.Stage == journal.StageSwarm {
		return v.planSwarm(n)
	}
	if n.Stage == journal.StageLocal && e.Labels[ReplicaLabel] == "" {
		return v.planLocal(n, e, listed)
	}
	switch {
	case listed && n.Stage == journal.StageGone && v.age(n) > ListedAfter:
		return []Step{{Do: Keep, Network: n, Engine: e}}
	case listed && n.Stage == journal.StageGone:
		return nil // Docker is still at it
	case listed:
		return v.planListed(n, e)
	}
	return v.planMissing(n)
}

// planLocal learns a local network's name, and forgets it when it is gone.
func (v View) planLocal(n journal.Network, e engine.Network, listed bool) []Step {
	if listed && n.Name != e.Name {
		return []Step{{Do: NoteStage, Network: n, Engine: e, Stage: journal.StageLocal}}
	}
	if !listed && v.age(n) > ListedAfter && v.lost(n) {
		return []Step{{Do: Forget, Network: n}}
	}
	return nil
}

// planListed is for a network the engine has.
func (v View) planListed(n journal.Network, e engine.Network) []Step {
	def, defined := v.Definitions[e.Name]
	mine := defined && def.Record.UUID == n.UUID
	switch n.Stage {
	case journal.StageCommitted, journal.StageReplica:
		if mine {
			return v.planMine(n, e, def)
		}
		if defined || v.buried(n.UUID) {
			return v.planLost(n, e, def, defined)
		}
		// Every removal leaves a tombstone, so this one was not removed: the
		// store lost it (it is new, or was restored from an older copy).
		return []Step{{Do: Commit, Network: n, Engine: e}}
	}
	switch {
	case !defined && (v.buried(n.UUID) || v.buried(e.Labels[ReplicaLabel])):
		return v.planLost(n, e, def, false)
	case !defined:
		return []Step{{Do: Commit, Network: n, Engine: e}}
	case def.Record.State == store.NetworkRemoving:
		return nil // the name is free, or taken again, in a moment
	case mine, same(def.Record.Created, Define(e, n), e.Labels[ReplicaLabel] == def.Record.UUID):
		if e.Labels[ReplicaLabel] == "" && v.leaving(def) {
			return []Step{{Do: Renew, Network: n, Engine: e, Definition: def}}
		}
		return []Step{{Do: Bind, Network: n, Engine: e, Definition: def}}
	case v.leaving(def):
		return nil // likewise
	}
	return v.planClash(n, e, def)
}

// planMine is for a network that is bound to its definition.
func (v View) planMine(n journal.Network, e engine.Network, def store.Row[store.Network]) []Step {
	if def.Record.State == store.NetworkRemoving {
		if len(v.Users[n.ID]) > 0 && def.Record.Force {
			return []Step{{Do: Detach, Network: n, Engine: e, Definition: def}}
		}
		if len(v.Users[n.ID]) > 0 {
			return v.answer(def, fmt.Sprintf("containers on node %s refer to it: %s", v.Hosts.Of(v.Node), strings.Join(v.Users[n.ID], ", ")))
		}
		return []Step{{Do: Remove, Network: n, Engine: e, Definition: def, Why: "its definition is being removed"}}
	}
	if !equalOverrides(n.Overrides, def.Record.Overrides) || outdated(n.Options, def.Record) || n.Name != e.Name || n.Removing || n.Renewed != def.Record.Renewed {
		return []Step{{Do: Override, Network: n, Engine: e, Definition: def}}
	}
	return nil
}

// planLost is for a network whose definition is gone, or whose name belongs
// to another definition now: it was removed, or replaced, while this host was
// away. It goes when no container refers to it.
func (v View) planLost(n journal.Network, e engine.Network, def store.Row[store.Network], defined bool) []Step {
	why := "its definition was removed"
	if defined {
		why = "its definition was replaced by another of the same name"
		if same(def.Record.Created, Define(e, n), true) && def.Record.State == store.NetworkActive {
			return []Step{{Do: Bind, Network: n, Engine: e, Definition: def}}
		}
	}
	if users := v.Users[n.ID]; len(users) > 0 {
		why = fmt.Sprintf("%s, but containers here refer to it: %s", why, strings.Join(users, ", "))
		return stage(n, e, journal.StageOrphaned, why)
	}
	return []Step{{Do: Remove, Network: n, Engine: e, Definition: def, Why: why}}
}

// planClash is for a network whose name another, different definition has.
// The first commit won.
func (v View) planClash(n journal.Network, e engine.Network, def store.Row[store.Network]) []Step {
	lost := fmt.Sprintf("node %s defined a different network of this name first", v.Hosts.Of(def.Record.Origin))
	if users := v.Users[n.ID]; len(users) > 0 {
		return stage(n, e, journal.StageConflict, fmt.Sprintf("%s, and containers here refer to this one: %s", lost, strings.Join(users, ", ")))
	}
	if v.age(n) < ClashPatience {
		return stage(n, e, n.Stage, fmt.Sprintf("%s, which takes the place of this one in %d s unless a container here refers to it", lost, ClashPatience/time.Second))
	}
	return []Step{{Do: Remove, Network: n, Engine: e, Definition: def, Why: lost}}
}

// planMissing is for a network the engine does not have.
func (v View) planMissing(n journal.Network) []Step {
	forget := []Step{{Do: Forget, Network: n}}
	if n.Removing {
		return forget
	}
	if n.Stage != journal.StageGone && !v.lost(n) {
		return nil
	}
	switch n.Stage {
	case journal.StageSeen:
		if v.age(n) <= ListedAfter {
			return nil
		}
		return forget
	case journal.StageConflict, journal.StageOrphaned:
		return forget
	}
	def, ok := v.byUUID(n.UUID)
	if !ok {
		return v.planExhume(n, forget)
	}
	if def.Record.State == store.NetworkRemoving {
		return forget
	}
	back := Step{Do: ComeBack, Network: n, Definition: def}
	if again, ok := v.standsAgain(n); ok {
		back.Engine, back.Why = again, "it is here again"
		return []Step{back}
	}
	if def.Record.Renewed > n.Renewed {
		back.Why = "it was made again on another host"
		return []Step{back}
	}
	if n.Stage != journal.StageGone {
		back.Why = "the engine lost it without being told to remove it"
		return []Step{back}
	}
	return v.planDeleted(n, def, back)
}

// planDeleted settles what it means that Docker deleted a replica here: a
// prune means nothing for the cluster, an rm removes the definition unless a
// container anywhere refers to it.
func (v View) planDeleted(n journal.Network, def store.Row[store.Network], back Step) []Step {
	if !v.Pruned.Before(n.SinceTime()) {
		back.Why = "docker network prune ran on this host, which never removes a network of the cluster"
		return []Step{back}
	}
	if v.age(n) < PruneQuiet || v.Now.Sub(v.Deleted) < PruneQuiet {
		return nil
	}
	if by := v.usedBy(n); by != "" {
		back.Why = "it is in use: " + by
		return []Step{back}
	}
	return []Step{{Do: Retire, Network: n, Definition: def}}
}

// planExhume brings a definition back whose removal turns out to have been a
// prune on this host.
func (v View) planExhume(n journal.Network, forget []Step) []Step {
	grave, ok := v.Tombstones[n.UUID]
	if !ok || n.Stage != journal.StageGone || v.Pruned.Before(n.SinceTime()) {
		return forget
	}
	if _, taken := v.Definitions[n.Name]; taken {
		return forget
	}
	def := store.Row[store.Network]{Key: store.NetworkKey(grave.Record.Network.Name), Record: grave.Record.Network}
	return []Step{{Do: Revive, Network: n, Definition: def, Why: "docker network prune, not an rm, removed it"}}
}

// standsAgain finds the network that took the place of one the engine does
// not have: whoever made it died before the stopped containers were attached.
func (v View) standsAgain(n journal.Network) (engine.Network, bool) {
	for _, other := range v.Journal {
		e, listed := v.Engine[other.ID]
		if listed && other.ID != n.ID && other.UUID == n.UUID && (other.Stage == journal.StageReplica || other.Stage == journal.StageCommitted) {
			return e, true
		}
	}
	return engine.Network{}, false
}

// leaving reports whether an rm on this host is about to remove the definition:
// that waits for the quiet after it. One from before a Renew removes nothing.
func (v View) leaving(def store.Row[store.Network]) bool {
	return slices.ContainsFunc(v.Journal, func(n journal.Network) bool {
		return n.Stage == journal.StageGone && n.UUID == def.Record.UUID && n.Renewed >= def.Record.Renewed && v.Pruned.Before(n.SinceTime()) && v.usedBy(n) == ""
	})
}

// age is how long the network is in its stage.
func (v View) age(n journal.Network) time.Duration { return v.Now.Sub(n.SinceTime()) }

// lost reports whether the engine does not have the network, and is not just
// deleting it.
func (v View) lost(n journal.Network) bool { return v.Now.Sub(v.Missing[n.ID]) > LostAfter }

// planSwarm is for a network the swarm keeps: its name is learned, and its
// definition follows the leader's calls.
func (v View) planSwarm(n journal.Network) []Step {
	e, listed := v.Swarm[n.UUID]
	def, defined := v.byUUID(n.UUID)
	switch {
	case n.Removing && defined:
		return []Step{{Do: SwarmFree, Network: n, Definition: def}}
	case n.Removing:
		return []Step{{Do: Forget, Network: n}}
	case !listed: // or the swarm has no quorum: network.Swarm.FreeLostNetworks asks it
		return nil
	case defined && (n.Name != e.Name || !equalOverrides(n.Overrides, def.Record.Overrides)):
		return []Step{{Do: SwarmBind, Network: n, Engine: e, Definition: def}}
	case defined:
		return nil
	}
	if _, buried := v.Tombstones[n.UUID]; buried || !n.IsManager() {
		return stage(n, e, journal.StageSwarm, "")
	}
	if other, taken := v.Definitions[e.Name]; taken {
		return stage(n, e, journal.StageSwarm, fmt.Sprintf("node %s defined a network of this name outside the swarm: it has no names and no overrides", v.Hosts.Of(other.Record.Origin)))
	}
	return []Step{{Do: SwarmCommit, Network: n, Engine: e}}
}

// stage notes a stage, unless the journal says the same already.
func stage(n journal.Network, e engine.Network, to journal.Stage, why string) []Step {
	if n.Stage == to && n.Why == why && n.Name == e.Name {
		return nil
	}
	return []Step{{Do: NoteStage, Network: n, Engine: e, Stage: to, Why: why}}
}

// Clashes are the networks of other nodes that lost their name to a definition
// of this one.
func Clashes(v View, nodes map[string]store.Row[store.Node]) (found []string) {
	for _, node := range nodes {
		for _, n := range node.Record.Networks {
			def, defined := v.Definitions[n.Name]
			if node.Record.Node == v.Node || !defined || def.Record.Origin != v.Node || def.Record.UUID == n.UUID {
				continue
			}
			if stage := journal.Stage(n.State); stage == journal.StageConflict || stage == journal.StageSeen && n.Why != "" {
				found = append(found, fmt.Sprintf("node %s made a different network %s, which was defined on this node first: %s", v.Hosts.Of(node.Record.Node), n.Name, n.Why))
			}
		}
	}
	slices.Sort(found)
	return found
}
