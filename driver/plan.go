package driver

import (
	"fmt"
	"maps"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
)

// Waits of the plan, in milliseconds of this host's clock. They only delay;
// no promise rests on them.
const (
	// listedAfter is how long Docker may take to list a network after its
	// CreateNetwork was answered, and to drop it after its DeleteNetwork was.
	listedAfter = 30_000
	// lostAfter is how long the engine may hide a network while it deletes it,
	// before it tells the driver: longer than its calls to a plugin that is
	// being restarted take (15 s).
	lostAfter = 30_000
	// clashPatience is how long the loser of a name stays untouched, so that
	// whoever just made it can see what happened.
	clashPatience = 10_000
	// pruneQuiet is how long after this host's last deletion a prune's own
	// event may still come: until then an rm and a prune look the same.
	pruneQuiet = 2_000
)

// view is everything a plan is made from, at one moment.
type view struct {
	node        string
	now         int64                               // unix seconds
	engine      map[string]engine.Network           // of this driver and local scope, by id
	swarm       map[string]engine.Network           // of this driver and swarm scope, by id
	others      map[string]string                   // names of every other network here: its driver
	journal     []hostNetwork                       //
	missing     map[string]int64                    // networks of the journal, by id, that the engine does not list: since when, unix milliseconds
	users       map[string][]string                 // engine network id: containers here, running or stopped
	definitions map[string]row[store.Network]       // by name
	tombstones  map[string]row[store.Tombstone]     // by uuid
	removals    map[string]map[string]store.Removal // by uuid and node
	refs        map[string]store.Refs               // by node
	live        []string                            // nodes
	kept        []store.Kept                        // what stopped containers here want again
	hosts       hosts                               // names for messages
	swarmOnly   bool                                // the managed plugin: plain networks are the socket agent's
	pruned      int64                               // unix milliseconds of this engine's last network prune
	deleted     int64                               // unix milliseconds of its last deletion of any network
	waiting     func(matter) bool                   // it failed and is not due again
}

// action is what a step does.
type action string

const (
	doCommit      action = "commit"       // make the definition of a network Docker made here
	doBind        action = "bind"         // the network is this definition's
	doAdopt       action = "adopt"        // likewise, for one the journal has lost
	doCreate      action = "create"       // make the replica
	doComeBack    action = "come back"    // make it again, and re-attach stopped containers
	doRemove      action = "remove"       // remove the engine's network
	doForget      action = "forget"       // drop the journal's record
	doKeep        action = "keep"         // the engine did not remove it after all
	doStage       action = "stage"        // note the stage and say why
	doOverride    action = "override"     // take the definition's overrides over
	doRetire      action = "retire"       // active -> removing
	doAnswer      action = "answer"       // this node's Removal
	doRevive      action = "revive"       // removing -> active
	doBury        action = "bury"         // removing -> tombstone
	doSweep       action = "sweep"        // the answers to a removal that is over
	doComplain    action = "complain"     // the replica cannot be made now
	doSwarmCommit action = "swarm commit" // make the definition of a swarm network
	doSwarmBind   action = "swarm bind"   // take its name and overrides over
	doSwarmFree   action = "swarm free"   // end its definition
	doDetach      action = "detach"       // disconnect this host's containers
)

// step is one thing to do, with what it is done to.
type step struct {
	do         action
	network    hostNetwork
	engine     engine.Network
	definition row[store.Network]
	stage      Stage
	why        string
}

// plan says what brings engine, journal and definitions together. It is pure:
// the same view gives the same steps.
func plan(v view) []step {
	var steps []step
	for _, n := range v.journal {
		steps = append(steps, v.planNetwork(n)...)
	}
	have := v.index()
	for _, name := range slices.Sorted(maps.Keys(v.definitions)) {
		steps = append(steps, v.planDefinition(v.definitions[name], have)...)
	}
	return append(steps, v.planAnswers()...)
}

func (v view) planNetwork(n hostNetwork) []step {
	e, listed := v.engine[n.ID]
	if n.Stage == StageSwarm {
		return v.planSwarm(n)
	}
	if n.Stage == StageLocal && e.Labels[replicaLabel] == "" {
		return v.planLocal(n, e, listed)
	}
	switch {
	case listed && n.Stage == StageGone && v.now-n.Since > listedAfter:
		return []step{{do: doKeep, network: n, engine: e}}
	case listed && n.Stage == StageGone:
		return nil // Docker is still at it
	case listed:
		return v.planListed(n, e)
	}
	return v.planMissing(n)
}

// planLocal learns a local network's name, and forgets it when it is gone.
func (v view) planLocal(n hostNetwork, e engine.Network, listed bool) []step {
	if listed && n.Name != e.Name {
		return []step{{do: doStage, network: n, engine: e, stage: StageLocal}}
	}
	if !listed && v.now-n.Since > listedAfter && v.lost(n) {
		return []step{{do: doForget, network: n}}
	}
	return nil
}

// lost tells a network that the engine does not have from one that it is
// deleting.
func (v view) lost(n hostNetwork) bool { return v.now-v.missing[n.ID] > lostAfter }

// planListed is for a network the engine has.
func (v view) planListed(n hostNetwork, e engine.Network) []step {
	def, defined := v.definitions[e.Name]
	mine := defined && def.Record.UUID == n.UUID
	switch n.Stage {
	case StageCommitted, StageReplica:
		if mine {
			return v.planMine(n, e, def)
		}
		if defined || v.buried(n.UUID) {
			return v.planLost(n, e, def, defined)
		}
		// Every removal leaves a tombstone, so this one was not removed: the
		// store lost it (it is new, or was restored from an older copy).
		return []step{{do: doCommit, network: n, engine: e}}
	}
	switch {
	case !defined && (v.buried(n.UUID) || v.buried(e.Labels[replicaLabel])):
		return v.planLost(n, e, def, false)
	case !defined:
		return []step{{do: doCommit, network: n, engine: e}}
	case def.Record.State == store.NetworkRemoving:
		return nil // the name is free, or taken again, in a moment
	case mine, sameNetwork(def.Record.Created, define(e, n), e.Labels[replicaLabel] == def.Record.UUID):
		return []step{{do: doBind, network: n, engine: e, definition: def}}
	case v.leaving(def):
		return nil // likewise
	}
	return v.planClash(n, e, def)
}

// leaving tells whether an rm on this host is about to remove the definition:
// that waits for the quiet after it.
func (v view) leaving(def row[store.Network]) bool {
	return slices.ContainsFunc(v.journal, func(n hostNetwork) bool {
		return n.Stage == StageGone && n.UUID == def.Record.UUID && v.pruned < n.Since && v.usedBy(n) == ""
	})
}

// planMine is for a network that is bound to its definition.
func (v view) planMine(n hostNetwork, e engine.Network, def row[store.Network]) []step {
	if def.Record.State == store.NetworkRemoving {
		if len(v.users[n.ID]) > 0 && def.Record.Force {
			return []step{{do: doDetach, network: n, engine: e, definition: def}}
		}
		if len(v.users[n.ID]) > 0 {
			return v.answer(def, fmt.Sprintf("containers on node %s refer to it: %s", v.hosts.of(v.node), joinWords(v.users[n.ID])))
		}
		return []step{{do: doRemove, network: n, engine: e, definition: def, why: "its definition is being removed"}}
	}
	if !equalOverrides(n.Overrides, def.Record.Overrides) || outdated(n.Options, def.Record) || n.Name != e.Name || n.Removing {
		return []step{{do: doOverride, network: n, engine: e, definition: def}}
	}
	return nil
}

// planLost is for a network whose definition is gone, or whose name belongs
// to another definition now: it was removed, or replaced, while this host was
// away. It goes when no container refers to it.
func (v view) planLost(n hostNetwork, e engine.Network, def row[store.Network], defined bool) []step {
	why := "its definition was removed"
	if defined {
		why = "its definition was replaced by another of the same name"
		if sameNetwork(def.Record.Created, define(e, n), true) && def.Record.State == store.NetworkActive {
			return []step{{do: doBind, network: n, engine: e, definition: def}}
		}
	}
	if users := v.users[n.ID]; len(users) > 0 {
		why = fmt.Sprintf("%s, but containers here refer to it: %s", why, joinWords(users))
		return stage(n, e, StageOrphaned, why)
	}
	return []step{{do: doRemove, network: n, engine: e, definition: def, why: why}}
}

// planClash is for a network whose name another, different definition has.
// The first commit won (decision 21).
func (v view) planClash(n hostNetwork, e engine.Network, def row[store.Network]) []step {
	lost := fmt.Sprintf("node %s defined a different network of this name first", v.hosts.of(def.Record.Origin))
	if users := v.users[n.ID]; len(users) > 0 {
		return stage(n, e, StageConflict, fmt.Sprintf("%s, and containers here refer to this one: %s", lost, joinWords(users)))
	}
	if v.now-n.Since < clashPatience {
		return stage(n, e, n.Stage, fmt.Sprintf("%s, which takes the place of this one in %d s unless a container here refers to it", lost, clashPatience/1000))
	}
	return []step{{do: doRemove, network: n, engine: e, definition: def, why: lost}}
}

// planMissing is for a network the engine does not have.
func (v view) planMissing(n hostNetwork) []step {
	forget := []step{{do: doForget, network: n}}
	if n.Removing {
		return forget
	}
	if n.Stage != StageGone && !v.lost(n) {
		return nil
	}
	switch n.Stage {
	case StageSeen:
		if v.now-n.Since <= listedAfter {
			return nil
		}
		return forget
	case StageConflict, StageOrphaned:
		return forget
	}
	def, ok := v.byUUID(n.UUID)
	if !ok {
		return v.planExhume(n, forget)
	}
	if def.Record.State == store.NetworkRemoving {
		return forget
	}
	back := step{do: doComeBack, network: n, definition: def}
	if again, ok := v.standsAgain(n); ok {
		back.engine, back.why = again, "it is here again"
		return []step{back}
	}
	if n.Stage != StageGone {
		back.why = "the engine lost it without being told to remove it"
		return []step{back}
	}
	return v.planDeleted(n, def, back)
}

// standsAgain finds the network that took the place of one the engine does
// not have: whoever made it died before the stopped containers were attached.
func (v view) standsAgain(n hostNetwork) (engine.Network, bool) {
	for _, other := range v.journal {
		e, listed := v.engine[other.ID]
		if listed && other.ID != n.ID && other.UUID == n.UUID && (other.Stage == StageReplica || other.Stage == StageCommitted) {
			return e, true
		}
	}
	return engine.Network{}, false
}

// planDeleted settles what it means that Docker deleted a replica here: a
// prune means nothing for the cluster, an rm removes the definition unless a
// container anywhere refers to it.
func (v view) planDeleted(n hostNetwork, def row[store.Network], back step) []step {
	if v.pruned >= n.Since {
		back.why = "docker network prune ran on this host, which never removes a network of the cluster"
		return []step{back}
	}
	if v.now-max(n.Since, v.deleted) < pruneQuiet {
		return nil
	}
	if by := v.usedBy(n); by != "" {
		back.why = "it is in use: " + by
		return []step{back}
	}
	return []step{{do: doRetire, network: n, definition: def}}
}

// planExhume brings a definition back whose removal turns out to have been a
// prune on this host.
func (v view) planExhume(n hostNetwork, forget []step) []step {
	grave, ok := v.tombstones[n.UUID]
	if !ok || n.Stage != StageGone || v.pruned < n.Since {
		return forget
	}
	if _, taken := v.definitions[n.Name]; taken {
		return forget
	}
	def := row[store.Network]{Key: store.NetworkKey(grave.Record.Network.Name), Record: grave.Record.Network}
	return []step{{do: doRevive, network: n, definition: def, why: "docker network prune, not an rm, removed it"}}
}

// usedBy names who refers to the network anywhere, or "". This host's own
// users are known better than its refs.
func (v view) usedBy(n hostNetwork) string {
	if users := v.users[n.ID]; len(users) > 0 {
		return fmt.Sprintf("containers on node %s: %s", v.hosts.of(v.node), joinWords(users))
	}
	for _, node := range slices.Sorted(maps.Keys(v.refs)) {
		if names := v.refs[node].Networks[n.UUID]; node != v.node && len(names) > 0 {
			return fmt.Sprintf("containers on node %s: %s", v.hosts.of(node), joinWords(names))
		}
	}
	return ""
}

// buried tells whether a definition was removed.
func (v view) buried(uuid string) bool {
	_, yes := v.tombstones[uuid]
	return yes
}

func (v view) byUUID(uuid string) (row[store.Network], bool) {
	for _, def := range v.definitions {
		if def.Record.UUID == uuid {
			return def, true
		}
	}
	return row[store.Network]{}, false
}

// stage notes a stage, unless the journal says the same already.
func stage(n hostNetwork, e engine.Network, to Stage, why string) []step {
	if n.Stage == to && n.Why == why && n.Name == e.Name {
		return nil
	}
	return []step{{do: doStage, network: n, engine: e, stage: to, why: why}}
}
