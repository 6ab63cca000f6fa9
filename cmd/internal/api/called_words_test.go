package api_test

import (
	"testing"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/driver/journal"
)

func TestWordsForStates(t *testing.T) {
	for state, want := range map[string]string{
		// What a host has of a network.
		string(journal.StageSeen): "being made", string(journal.StageCommitted): "ready", string(journal.StageReplica): "ready",
		string(journal.StageGone): "being removed", string(journal.StageConflict): "name taken by another network",
		string(journal.StageOrphaned): "removed, but in use here", string(journal.StageLocal): "ready", string(journal.StageSwarm): "ready",
		api.StateMissing: "not made yet", api.StateNoTask: "no task there",
		// A network.
		string(store.NetworkActive): "active", string(store.NetworkRemoving): "being removed",
		// A node.
		string(cluster.Ready): "ready", string(cluster.Unreachable): "unreachable", string(cluster.Detached): "without etcd",
		string(cluster.Down): "down", string(cluster.Evicted): "evicted",
		// A member.
		string(gossip.Alive): "answers", string(gossip.Failed): "silent", string(gossip.Left): "stopped",
		"": "", "of a newer agent": "of a newer agent",
	} {
		if got := api.Word(state); got != want {
			t.Errorf("%q is shown as %q, want %q", state, got, want)
		}
	}
}
