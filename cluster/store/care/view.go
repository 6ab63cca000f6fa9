package care

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// defragmentFrom is the size of a database, in bytes, below which nothing is
	// done: reading and writing that much is a matter of a second even on an SD
	// card, and a restart, a copy to a new member and a backup take no longer.
	defragmentFrom = 64 << 20
	// nearly is the share of the quota, in percent, from which people are told:
	// what is left takes days to fill at the pace of a busy cluster, since old
	// revisions go every hour.
	nearly = 80
	// room is the share of the quota, in percent, that may be in use for the alarm to
	// be ended: with less left it would be raised again at once.
	room = 90
	// silent is how long a member may say nothing before people are told: a
	// reboot of its host takes that long.
	silent = 2 * time.Minute
)

// nearlyInStep is how many entries of the log a member may lack to be in step.
const nearlyInStep = 1000

// Member is one member as it says it fares.
type Member struct {
	ID       uint64
	Node     string // "" before it started for the first time
	Endpoint string // where it is asked
	Learner  bool
	Leader   bool
	Answers  bool          // the rest is unknown of one that does not
	InStep   bool          // it has what the leader has, or nearly
	Quiet    time.Duration // it has not answered for so long
	Size     int64         // of its database, bytes
	InUse    int64         // of that
	Quota    int64         // 0: unknown
	Revision int64
}

// View is what is known at one moment.
type View struct {
	Members []Member
	NoSpace bool // etcd takes nothing in: a quota is used up
	Differ  bool // etcd takes nothing in: members' data differ
}

// order is followers first, and the leader last: while a member is defragmented it
// answers nobody, and a leader that does not is taken for dead.
func (v View) order() []Member {
	return slices.SortedStableFunc(slices.Values(v.Members), func(a, b Member) int {
		rank := func(m Member) int {
			if m.Leader {
				return 1
			}
			return 0
		}
		return cmp.Compare(rank(a), rank(b))
	})
}

// wellOff reports whether all members answer and are in step: only then may one
// of them be busy with itself.
func (v View) wellOff() bool {
	for _, m := range v.Members {
		if !m.Answers || !m.InStep {
			return false
		}
	}
	return len(v.Members) > 0 && !v.NoSpace && !v.Differ
}

// Next is the member to defragment now. rested reports whether one may be, since
// it was not a short while ago.
func (v View) Next(rested func(Member) bool) (Member, bool) {
	if !v.wellOff() {
		return Member{}, false
	}
	for _, m := range v.order() {
		if m.Size > defragmentFrom && m.InUse < m.Size/2 && rested(m) {
			return m, true
		}
	}
	return Member{}, false
}

// roomy reports whether every member that answers has room in its quota.
func (v View) roomy() bool {
	answers := false
	for _, m := range v.Members {
		answers = answers || m.Answers
		if m.Answers && m.Quota > 0 && m.Size > m.Quota/100*room {
			return false
		}
	}
	return answers
}

// Warnings is what is wrong, each with its cure, for people; called is how they call
// a node's host.
func (v View) Warnings(called func(node string) string) (all []string) {
	if v.NoSpace {
		all = append(all, "the store's quota is used up: no new address is given until there is room, which the leader's host makes by itself "+
			"as far as it can; remove networks and containers that nobody needs, or take keys of others out of it (`gvlan store ls` shows its size)")
	}
	if v.Differ {
		all = append(all, "the members of the store have different data: no new address is given; "+
			"keep the host whose data are right, and have it begin anew with `gvlan store recover`")
	}
	for _, m := range v.Members {
		switch {
		case m.Quiet >= silent:
			all = append(all, fmt.Sprintf("the member of the store on host %s has not answered for %s: look at its host; another takes its place after a while, where there is one",
				called(m.Node), m.Quiet.Round(time.Minute)))
		case !v.NoSpace && m.Answers && m.Quota > 0 && m.InUse > m.Quota/100*nearly:
			all = append(all, fmt.Sprintf("the store on host %s has filled %d%% of its quota of %d MiB: remove networks and containers that nobody needs",
				called(m.Node), m.InUse*100/m.Quota, m.Quota>>20))
		}
	}
	return all
}
