package members

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrNotInStep: a learner lacks too much of what the leader has to be a voter.
var ErrNotInStep = errors.New("the learner is not in step yet")

// MemberInfo is a member as the cluster lists it.
type MemberInfo struct {
	ID      uint64
	Name    string // the node; "" until it was started
	Peer    string // host:port
	Client  string // where Status is asked; "" until it was started
	Learner bool
	Started bool
}

// MemberStatus is what a member says of itself.
type MemberStatus struct {
	ID, Leader      uint64 // Leader 0: it knows none
	Learner         bool
	DBSize, DBInUse int64  // bytes
	Applied, Index  uint64 // of raft's log
	Revision        int64
	Version         string
	Alarms          []string
}

// Roster tells who is a member, and how each fares.
type Roster interface {
	// Members lists them, linearizably.
	Members(ctx context.Context) ([]MemberInfo, error)
	// Status asks one, at a MemberInfo's Client.
	Status(ctx context.Context, client string) (MemberStatus, error)
}

// Membership carries out steps. The member asked is the one of this host.
type Membership interface {
	// AddLearner returns the id of the new member, which others reach at peer,
	// a host:port.
	AddLearner(ctx context.Context, peer string) (id uint64, err error)
	// Promote fails with ErrNotInStep when it is too early.
	Promote(ctx context.Context, id uint64) error
	Remove(ctx context.Context, id uint64) error
	MoveLeader(ctx context.Context, to uint64) error
}

// statusTimeout is how long a member has to say how it fares.
const statusTimeout = 1500 * time.Millisecond

// nearly is how many entries behind the leader a learner is in step.
const nearly = 1000

// statuses asks every member at the same time; who does not answer is left out.
func statuses(ctx context.Context, roster Roster, infos []MemberInfo) map[uint64]MemberStatus {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var mu sync.Mutex
	var work sync.WaitGroup
	all := map[uint64]MemberStatus{}
	for _, info := range infos {
		if info.Client == "" {
			continue
		}
		work.Go(func() {
			status, err := roster.Status(ctx, info.Client)
			if err != nil || status.ID != info.ID {
				return // silent, or another one at its address
			}
			mu.Lock()
			defer mu.Unlock()
			all[info.ID] = status
		})
	}
	work.Wait()
	return all
}

// leaderOf is the member that most others follow; 0: they know none.
func leaderOf(all map[uint64]MemberStatus) uint64 {
	votes, best := map[uint64]int{}, uint64(0)
	for _, status := range all {
		votes[status.Leader]++
	}
	delete(votes, 0)
	for id, n := range votes {
		if n > votes[best] || n == votes[best] && id > best {
			best = id
		}
	}
	return best
}

// describe joins the list of members with what they say.
func describe(infos []MemberInfo, all map[uint64]MemberStatus, leader uint64, nodeOf func(MemberInfo) string) []Member {
	var found []Member
	for _, info := range infos {
		m := Member{ID: info.ID, Node: nodeOf(info), Peer: info.Peer, Learner: info.Learner, Started: info.Started, Leader: info.ID == leader}
		if status, answered := all[info.ID]; answered {
			m.Answers = leader != 0 && status.Leader == leader
			if head := all[leader].Index; head > status.Applied {
				m.Lag = head - status.Applied
			}
			m.InStep = m.Answers && all[leader].Index > 0 && m.Lag <= nearly
		}
		found = append(found, m)
	}
	return found
}
