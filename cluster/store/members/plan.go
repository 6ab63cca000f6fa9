package members

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxLearners is how many learners there are at most at the same time. etcd
// allows one unless it is told otherwise.
const MaxLearners = 2

// byItself is the number of voters that is aimed at when nobody asked for one.
const byItself = 3

// Host is one that may run a member.
type Host struct {
	Node    string
	Base    string // host:port at which it serves clients; "": it can run no member
	Live    bool   // its agent is connected
	Drained bool
	Leaving bool
	Evicted bool
	// Failures counts the learners there that came to nothing: other hosts are
	// tried before.
	Failures int
}

// free reports whether the host may be asked to run a member.
func (h Host) free() bool {
	return h.Base != "" && h.Live && !h.Drained && !h.Leaving && !h.Evicted
}

// Member is one of the cluster's own store.
type Member struct {
	ID      uint64
	Node    string // "": no host is known for it
	Peer    string // host:port
	Learner bool
	Started bool // it was in the cluster at least once
	Answers bool // it follows the leader, or leads
	Leader  bool
	InStep  bool   // a learner that has nearly all the leader has
	Lag     uint64 // entries that it is behind the leader
	Gone    bool   // it has not answered for so long that another host should have its place
	Bare    bool   // it does not answer while its host is connected: the host lost its data
}

// View is what is known of hosts and members at one moment.
type View struct {
	Hosts   []Host
	Members []Member
	Want    int // voters; 0: three, once there are as many hosts
}

// Action is a kind of Step.
type Action uint8

const (
	// Add makes a learner of a host.
	Add Action = iota + 1
	// Promote makes a voter of a learner.
	Promote
	// Remove takes a member out.
	Remove
	// MoveLeader has another voter lead.
	MoveLeader
)

// String names the action as a log line does.
func (a Action) String() string {
	switch a {
	case Add:
		return "add learner"
	case Promote:
		return "promote"
	case Remove:
		return "remove"
	case MoveLeader:
		return "move leader"
	}
	return fmt.Sprintf("action %d", a)
}

// Step is one change of the membership.
type Step struct {
	Action Action
	ID     uint64 // of the member; 0 for Add
	Node   string // its host; "": none is known
	Peer   string // host:port of the member
	Why    string
}

// fate is what becomes of a member.
type fate uint8

const (
	stays fate = iota
	// yields: it goes once there is another in its place.
	yields
	// departs: it goes, also when nobody takes its place.
	departs
)

// standing is a View sorted out.
type standing struct {
	hosts    map[string]Host
	voters   []Member
	learners []Member
	free     []Host // hosts that may be asked, the best first
	goal     int    // voters aimed at: odd
}

func (v View) standing() standing {
	s := standing{hosts: map[string]Host{}}
	taken, peers := map[string]bool{}, map[string]bool{}
	for _, m := range v.Members {
		taken[m.Node], peers[m.Peer] = true, true
		if m.Learner {
			s.learners = append(s.learners, m)
		} else {
			s.voters = append(s.voters, m)
		}
	}
	for _, h := range v.Hosts {
		s.hosts[h.Node] = h
		at, err := AddressesOf(h.Base)
		if h.free() && !taken[h.Node] && err == nil && !peers[at.Peer] {
			s.free = append(s.free, h)
		}
	}
	byID := func(a, b Member) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(s.voters, byID)
	slices.SortFunc(s.learners, byID)
	slices.SortFunc(s.free, func(a, b Host) int {
		return cmp.Or(cmp.Compare(a.Failures, b.Failures), cmp.Compare(a.Node, b.Node))
	})
	s.goal = s.aim(cmp.Or(v.Want, byItself))
	return s
}

// aim is the largest odd number of voters that is no more than wanted and no
// more than there are places.
func (s standing) aim(wanted int) int {
	places := len(s.free)
	for _, m := range slices.Concat(s.voters, s.learners) {
		if s.place(m) {
			places++
		}
	}
	goal := 1
	for goal+2 <= min(wanted, places) {
		goal += 2
	}
	return goal
}

// place reports whether a member counts as a place for a voter. A voter does
// while it is silent or drained: who is only away must not change the goal.
func (s standing) place(m Member) bool {
	if m.Bare {
		return s.hosts[m.Node].free() // it may begin anew
	}
	fate := s.fate(m)
	return fate == stays || fate == yields && !m.Learner
}

func (s standing) fate(m Member) fate {
	h, known := s.hosts[m.Node]
	switch {
	case h.Leaving || h.Evicted || !known && m.Gone:
		return departs
	case h.Drained || m.Gone || m.Bare:
		return yields
	}
	return stays
}

// why says why a member goes.
func (s standing) why(m Member) string {
	h, known := s.hosts[m.Node]
	switch {
	case h.Evicted:
		return "its host is evicted"
	case h.Leaving:
		return "its host leaves"
	case !known && m.Gone:
		return "nobody knows its host"
	case m.Bare:
		return "its host lost its data"
	case m.Gone:
		return "it has not answered for too long"
	case h.Drained:
		return "its host is drained"
	}
	return s.enough()
}

func (s standing) enough() string {
	if s.goal == 1 {
		return "one is enough"
	}
	return fmt.Sprintf("%d are enough", s.goal)
}

// Next is the change that comes next, if there is any: one at a time, and none
// while the voters that answer are no quorum. Whoever carries it out looks
// again before the one after it.
func (v View) Next() (Step, bool) {
	s := v.standing()
	led := slices.ContainsFunc(s.voters, func(m Member) bool { return m.Leader })
	if !led || s.answering() < quorum(len(s.voters)) {
		return Step{}, false
	}
	rules := []func() (Step, bool){s.dropLearner, s.shrink, s.grow, s.replace, s.renew, s.addLearner}
	if len(s.voters)%2 == 0 {
		rules = []func() (Step, bool){s.shrink, s.finish, s.dropLearner, s.addLearner}
	}
	for _, rule := range rules {
		if step, found := rule(); found {
			return step, true
		}
	}
	return Step{}, false
}

func quorum(voters int) int { return voters/2 + 1 }

func (s standing) answering() int {
	n := 0
	for _, m := range s.voters {
		if m.Answers {
			n++
		}
	}
	return n
}

// lack is how many voters are missing that are there to stay.
func (s standing) lack() int {
	n := s.goal
	for _, m := range s.voters {
		if s.fate(m) == stays {
			n--
		}
	}
	return n
}

// learnersWanted is how many learners there should be: as many as voters are
// missing, and beside a single voter one that has a copy.
func (s standing) learnersWanted() int {
	least := 0
	if s.goal == 1 {
		least = 1
	}
	return max(least, min(s.lack(), MaxLearners))
}

// lasting are the learners that are there to stay.
func (s standing) lasting() []Member {
	return slices.DeleteFunc(slices.Clone(s.learners), func(m Member) bool { return s.fate(m) != stays })
}

// ready are the learners that can be promoted.
func (s standing) ready() []Member {
	return slices.DeleteFunc(s.lasting(), func(m Member) bool { return !m.Started || !m.Answers || !m.InStep })
}

// dropLearner removes a learner that is of no use: one whose host goes or lost
// its data, one in the way of another host, one too many.
func (s standing) dropLearner() (Step, bool) {
	wanted := s.learnersWanted()
	for _, m := range s.learners {
		switch s.fate(m) {
		case stays:
			continue
		case yields:
			if !m.Bare && s.goal == 1 && len(s.free) == 0 && len(s.learners) <= wanted {
				continue // beside a single voter a copy that is late is better than none
			}
		case departs:
		}
		return Step{Action: Remove, ID: m.ID, Node: m.Node, Peer: m.Peer, Why: s.why(m)}, true
	}
	if lasting := s.lasting(); len(lasting) > wanted {
		m := slices.MinFunc(lasting, func(a, b Member) int {
			return cmp.Or(compareBool(a.InStep, b.InStep), cmp.Compare(b.ID, a.ID))
		})
		return Step{Action: Remove, ID: m.ID, Node: m.Node, Peer: m.Peer, Why: s.why(m)}, true
	}
	return Step{}, false
}

// shrink removes a voter too many. Of an even number one that departs goes even
// if the goal is higher: that makes the number odd.
func (s standing) shrink() (Step, bool) {
	tooMany := len(s.voters) > s.goal
	for _, m := range s.worstFirst() {
		if tooMany || len(s.voters)%2 == 0 && s.fate(m) == departs {
			return s.remove(m)
		}
	}
	return Step{}, false
}

// worstFirst are the voters in the order they are removed in: whoever does not
// answer before whoever does, unless it is only away; the leader late.
func (s standing) worstFirst() []Member {
	return slices.SortedFunc(slices.Values(s.voters), func(a, b Member) int {
		return cmp.Or(
			compareBool(s.fate(a) == stays, s.fate(b) == stays),
			compareBool(a.Answers, b.Answers),
			cmp.Compare(s.fate(b), s.fate(a)),
			compareBool(a.Leader, b.Leader),
			cmp.Compare(b.ID, a.ID),
		)
	})
}

// remove takes a voter out, unless the others would be no quorum of themselves.
// The leader hands over before.
func (s standing) remove(m Member) (Step, bool) {
	left := s.answering()
	if m.Answers {
		left--
	}
	if len(s.voters) == 1 || left < quorum(len(s.voters)-1) {
		return Step{}, false
	}
	if m.Leader {
		return s.moveLeader(m)
	}
	return Step{Action: Remove, ID: m.ID, Node: m.Node, Peer: m.Peer, Why: s.why(m)}, true
}

// moveLeader has the best of the other voters lead.
func (s standing) moveLeader(from Member) (Step, bool) {
	others := slices.DeleteFunc(s.worstFirst(), func(m Member) bool { return m.ID == from.ID || !m.Answers })
	if len(others) == 0 {
		return Step{}, false
	}
	to := others[len(others)-1]
	return Step{Action: MoveLeader, ID: to.ID, Node: to.Node, Peer: to.Peer, Why: s.why(from)}, true
}

func promote(m Member, why string) (Step, bool) {
	return Step{Action: Promote, ID: m.ID, Node: m.Node, Peer: m.Peer, Why: why}, true
}

// grow promotes a learner of an odd number of voters when the next one is ready
// too, so that the number is even for that step only.
func (s standing) grow() (Step, bool) {
	if ready := s.ready(); len(ready) >= 2 && len(s.voters)+2 <= s.goal {
		return promote(ready[0], fmt.Sprintf("%d voters are aimed at", s.goal))
	}
	return Step{}, false
}

// finish promotes a learner of an even number of voters.
func (s standing) finish() (Step, bool) {
	if ready := s.ready(); len(ready) > 0 && len(s.voters) < s.goal {
		return promote(ready[0], fmt.Sprintf("%d voters are aimed at", s.goal))
	}
	return Step{}, false
}

// replace has a learner that is in step take the place of a voter that goes.
// One that does not answer is removed first, which costs nothing; one that does
// counts until the other has its vote.
func (s standing) replace() (Step, bool) {
	ready := s.ready()
	if len(ready) == 0 {
		return Step{}, false
	}
	for _, m := range s.worstFirst() {
		switch f := s.fate(m); {
		case f == stays:
		case !m.Answers:
			return s.remove(m)
		case len(s.voters) < s.goal && f != departs:
			// It would leave an even number: it waits until there are as many as aimed at.
		case m.Leader && len(s.voters) > 1:
			return s.moveLeader(m)
		default:
			return promote(ready[0], "in the place of another: "+s.why(m))
		}
	}
	return Step{}, false
}

// renew removes a voter whose host lost its data when no other host can take
// its place: then that one begins anew, as a learner.
func (s standing) renew() (Step, bool) {
	if len(s.free) > 0 || len(s.lasting()) > 0 {
		return Step{}, false
	}
	for _, m := range s.voters {
		if m.Bare && !m.Answers && s.hosts[m.Node].free() {
			return s.remove(m)
		}
	}
	return Step{}, false
}

// moves reports whether the leader is listed at another address than its host
// says it has, as one that was opened a moment ago: a learner would not find it.
func (s standing) moves() bool {
	for _, m := range s.voters {
		if h, known := s.hosts[m.Node]; m.Leader && known && !h.Evicted {
			at, err := AddressesOf(h.Base)
			return err != nil || at.Peer != m.Peer
		}
	}
	return false
}

func (s standing) addLearner() (Step, bool) {
	if len(s.free) == 0 || len(s.lasting()) >= s.learnersWanted() || s.moves() {
		return Step{}, false
	}
	h := s.free[0]
	at, err := AddressesOf(h.Base)
	if err != nil {
		return Step{}, false
	}
	why := fmt.Sprintf("%d voters are aimed at", s.goal)
	if s.lack() <= 0 {
		why = "a copy beside the only voter"
	}
	return Step{Action: Add, Node: h.Node, Peer: at.Peer, Why: why}, true
}

// Goal is the number of voters that is aimed at.
func (v View) Goal() int { return v.standing().goal }

// Why says why a host runs no member; "" of one that does.
func (v View) Why(node string) string {
	s := v.standing()
	h, known := s.hosts[node]
	switch {
	case slices.ContainsFunc(v.Members, func(m Member) bool { return m.Node == node }):
		return ""
	case !known:
		return "unknown"
	case h.Evicted:
		return "evicted"
	case h.Leaving:
		return "leaves"
	case h.Base == "":
		return "a managed plugin runs none"
	case h.Drained:
		return "drained"
	case !h.Live:
		return "not connected"
	case s.answering() < quorum(len(s.voters)):
		return "nothing is changed while no quorum answers"
	case len(s.lasting()) >= s.learnersWanted() && s.lack() <= 0:
		return s.enough()
	case s.moves():
		return "the leader has no address yet that others reach"
	case len(s.lasting()) >= s.learnersWanted():
		return "others come first"
	case len(s.free) > 0 && s.free[0].Node != node:
		return "others come first"
	}
	return "comes next"
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
