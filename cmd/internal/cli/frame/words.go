package frame

import (
	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/driver/journal"
)

// Word is how people are told a state of a network, of what a host has of it, of
// a node or of a member: one that needs no explanation, or that README explains.
// JSON has the state itself.
func Word(state string) string {
	switch state {
	case string(journal.StageCommitted), string(journal.StageReplica), string(journal.StageLocal), string(journal.StageSwarm):
		return "ready" // where it was made is nothing to act on, how far it reaches is its scope
	case string(journal.StageSeen):
		return "being made"
	case string(journal.StageGone), string(store.NetworkRemoving):
		return "being removed"
	case string(journal.StageConflict):
		return "name taken by another network"
	case string(journal.StageOrphaned):
		return "removed, but in use here"
	case api.StateMissing:
		return "not made yet"
	case api.StateNoTask:
		return "no task there"
	case string(cluster.Unreachable):
		return "unreachable"
	case string(cluster.Detached):
		return "without etcd"
	case string(gossip.Alive):
		return "answers"
	case string(gossip.Failed):
		return "silent"
	case string(gossip.Left):
		return "stopped"
	}
	return state // active, ready, down, evicted, and what a newer agent says
}
