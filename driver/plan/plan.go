// Package plan says what brings this host's networks in line with the cluster's
// definitions: a View of everything at one moment gives Steps. It is pure: it
// asks nobody, remembers nothing and does nothing, so that whoever dies between
// two steps leaves a view from which the next plan goes on.
//
//	network.go     for each network the journal has
//	definition.go  for each definition, each node's answer to a removal, and what was removed
//	same.go        what of a definition and of an engine's network is compared
//
// See DESIGN.md in this folder.
package plan

import (
	"maps"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
)

// Waits of the plan, by this host's clock. They only delay; no promise rests on
// them.
const (
	// ListedAfter is how long Docker may take to list a network after its
	// CreateNetwork was answered, and to drop it after its DeleteNetwork was.
	ListedAfter = 30 * time.Second
	// LostAfter is how long the engine may hide a network while it deletes it,
	// before it tells the driver: longer than its calls to a plugin that is
	// being restarted take (15 s).
	LostAfter = 30 * time.Second
	// ClashPatience is how long the loser of a name stays untouched, so that
	// whoever just made it can see what happened.
	ClashPatience = 10 * time.Second
	// PruneQuiet is how long after this host's last deletion a prune's own
	// event may still come: until then an rm and a prune look the same.
	PruneQuiet = 2 * time.Second
)

// Action is what a step does.
type Action string

const (
	Commit      Action = "commit"       // make the definition of a network Docker made here
	Bind        Action = "bind"         // the network is this definition's
	Adopt       Action = "adopt"        // likewise, for one the journal has lost
	Create      Action = "create"       // make the replica
	ComeBack    Action = "come back"    // make it again, and re-attach stopped containers
	Remove      Action = "remove"       // remove the engine's network
	Forget      Action = "forget"       // drop the journal's record
	Keep        Action = "keep"         // the engine did not remove it after all
	NoteStage   Action = "stage"        // note the stage and say why
	Override    Action = "override"     // take the definition's overrides over
	Renew       Action = "renew"        // what hosts were told to remove is wanted again
	Retire      Action = "retire"       // active -> removing
	Answer      Action = "answer"       // this node's Removal
	Revive      Action = "revive"       // removing -> active
	Bury        Action = "bury"         // removing -> tombstone
	Settle      Action = "settle"       // this node needs the tombstone no more
	Clear       Action = "clear"        // the tombstone: nobody needs it any more
	Sweep       Action = "sweep"        // the answers to a removal that is over
	Complain    Action = "complain"     // the replica cannot be made now
	SwarmCommit Action = "swarm commit" // make the definition of a swarm network
	SwarmBind   Action = "swarm bind"   // take its name and overrides over
	SwarmFree   Action = "swarm free"   // end its definition
	Detach      Action = "detach"       // disconnect this host's containers
)

// Step is one thing to do, with what it is done to.
type Step struct {
	Do         Action
	Network    journal.Network          // zero for one the journal does not have
	Engine     engine.Network           // zero for one the engine does not have
	Definition store.Row[store.Network] // zero for none; of Settle and Clear what the tombstone says, with the tombstone's key and revisions
	Stage      journal.Stage            // of NoteStage
	Why        string                   // for people
}

// Steps says what brings engine, journal and definitions together.
func Steps(v View) []Step {
	var steps []Step
	for _, n := range v.Journal {
		steps = append(steps, v.planNetwork(n)...)
	}
	have := v.index()
	for _, name := range slices.Sorted(maps.Keys(v.Definitions)) {
		steps = append(steps, v.planDefinition(v.Definitions[name], have)...)
	}
	steps = append(steps, v.planTombstones()...)
	return append(steps, v.planAnswers()...)
}

// ReplicaOf is what a failure to make a definition's network here is filed under.
func ReplicaOf(def store.Network) trouble.Matter {
	return trouble.Matter{What: "replica", Of: def.UUID}
}

// NameTaken is what it is filed under that somebody else has the name here: that
// is over the moment the name is free, whatever wait a failed create has earned.
func NameTaken(def store.Network) trouble.Matter { return trouble.Matter{What: "name", Of: def.UUID} }

// Title is what messages call the step's network.
func (s Step) Title() string {
	if s.Definition.Record.Name != "" {
		return s.Definition.Record.Name
	}
	if s.Engine.Name != "" {
		return s.Engine.Name
	}
	return s.Network.Title()
}
