package embedded

// meansNothing reports whether a line of etcd's says what is as it must be in
// this cluster, or what gvlan tells by itself in words of its own.
func meansNothing(message string) bool {
	switch message {
	// A member that joins has no schema before the leader's first snapshot came.
	case "Failed to detect schema version", "failed to update storage version":
		return true
	// A member that is away, is yet to start, or goes: whether any of it matters is
	// for cluster/store/care to say, with the host's name, and for as long as it
	// lasts. etcd says it for each stream and each probe, and when a member is
	// removed in order, too.
	case "closed TCP streaming connection with remote peer", "lost TCP streaming connection with remote peer",
		"peer became inactive (message send to peer failed)", "prober detected unhealthy status",
		"failed to reach the peer URL", "failed to get version":
		return true
	// A member that was removed hears of it by asking, which is Run's ErrRemoved.
	case "rejected stream from remote peer because it was removed", "rejected Raft message from removed member",
		"failed to process Raft message", "server error", "data-dir used by this member must be removed":
		return true
	// Who asked for a change of the membership is told what came of it: that the
	// learner is not in step yet, or that the change was made before, when its
	// first answer was lost.
	case "rejecting promote learner: learner is not ready", "failed to promote a member", "Validation on configuration change failed":
		return true
	}
	return false
}
