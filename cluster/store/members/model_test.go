package members

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// tick is how much time passes between two looks of the model.
const tick = 2 * time.Second

// world is a model of hosts, of etcd members on them and of their leader, in
// which things happen and Next is obeyed.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	now     time.Time
	ticks   int
	hosts   map[string]*modelHost
	members map[uint64]*modelMember
	leader  uint64
	ids     uint64
	want    int
	clocks  clocks
	history []string
	removed int
}

type modelHost struct {
	node                          string
	up, drained, leaving, evicted bool
	since                         int  // tick it came up or went down at
	liveUntil                     int  // tick its /live ends at, while there is a quorum
	broken                        bool // its member never comes up
}

type modelMember struct {
	node             string
	learner, started bool
	lost             bool // its data
	ran              int  // ticks that it ran as a learner
}

const (
	memberStart = 3 // ticks from a host's start to its member's
	liveTicks   = 8 // that /live outlives its agent
	syncTicks   = 3 // that a learner needs
)

func newWorld(t *testing.T, seed uint64, hosts int) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), ticks: 100,
		hosts: map[string]*modelHost{}, members: map[uint64]*modelMember{},
		clocks: clocks{patience: time.Minute, bare: 30 * time.Second},
	}
	for range hosts {
		w.addHost()
	}
	w.ids++
	w.members[w.ids] = &modelMember{node: "h1", started: true}
	return w
}

func (w *world) addHost() {
	node := fmt.Sprintf("h%d", len(w.hosts)+1)
	w.hosts[node] = &modelHost{node: node, up: true}
}

func (w *world) base(node string) string { return node + ":2379" }
func (w *world) peer(node string) string { return node + ":2380" }

func (w *world) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%d: ", w.ticks)+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	from := max(0, len(w.history)-40)
	w.t.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), w.picture(), strings.Join(w.history[from:], "\n"))
}

func (w *world) picture() string {
	var b strings.Builder
	for _, node := range slices.Sorted(maps.Keys(w.hosts)) {
		fmt.Fprintf(&b, "%+v\n", *w.hosts[node])
	}
	for _, id := range slices.Sorted(maps.Keys(w.members)) {
		fmt.Fprintf(&b, "%d %+v\n", id, *w.members[id])
	}
	fmt.Fprintf(&b, "leader %d want %d", w.leader, w.want)
	return b.String()
}

// runs reports whether a member's process could answer.
func (w *world) runs(m *modelMember) bool {
	h := w.hosts[m.node]
	return h.up && !h.evicted && !h.broken && !m.lost && w.ticks-h.since >= memberStart
}

func (w *world) voters() (all, running int) {
	for _, m := range w.members {
		if m.learner {
			continue
		}
		all++
		if w.runs(m) {
			running++
		}
	}
	return all, running
}

// pass lets one tick pass: elections, leases, learners.
func (w *world) pass() {
	w.ticks++
	w.now = w.now.Add(tick)
	all, running := w.voters()
	if running < quorum(all) {
		w.leader = 0
		for _, h := range w.hosts { // no lease ends while nobody leads
			if h.liveUntil >= w.ticks-1 {
				h.liveUntil = w.ticks + liveTicks
			}
		}
		return
	}
	if m := w.members[w.leader]; m == nil || m.learner || !w.runs(m) {
		w.leader = 0
		for _, id := range slices.Sorted(maps.Keys(w.members)) {
			if m := w.members[id]; !m.learner && w.runs(m) && (w.leader == 0 || w.rand.IntN(2) == 0) {
				w.leader = id
			}
		}
		w.clocks.reset()
		w.note("member %d leads", w.leader)
	}
	for _, h := range w.hosts {
		if h.up && !h.evicted {
			h.liveUntil = w.ticks + liveTicks
		}
	}
	for _, m := range w.members {
		if w.runs(m) {
			m.started = true
			m.ran++
		}
	}
}

func (w *world) view() View {
	v := View{Want: w.want}
	for _, h := range w.hosts {
		v.Hosts = append(v.Hosts, Host{
			Node: h.node, Base: w.base(h.node), Live: h.liveUntil >= w.ticks,
			Drained: h.drained, Leaving: h.leaving, Evicted: h.evicted,
		})
	}
	for id, m := range w.members {
		answers := w.leader != 0 && w.runs(m) && m.started
		v.Members = append(v.Members, Member{
			ID: id, Node: m.node, Peer: w.peer(m.node), Learner: m.learner, Started: m.started, Answers: answers,
			Leader: id == w.leader, InStep: answers && m.ran >= syncTicks,
		})
	}
	return v
}

// obey carries out what comes next, and holds it to what must never happen.
func (w *world) obey() bool {
	if w.leader == 0 {
		return false
	}
	v := w.view()
	w.clocks.look(w.now, &v)
	step, found := v.Next()
	if !found {
		return false
	}
	w.note("%s %d %s: %s", step.Action, step.ID, step.Node, step.Why)
	w.judge(v, step)
	var of Member
	for _, m := range v.Members {
		if m.ID == step.ID {
			of = m
		}
	}
	switch step.Action {
	case Add:
		w.ids++
		w.members[w.ids] = &modelMember{node: step.Node, learner: true}
	case Promote:
		w.members[step.ID].learner = false
	case Remove:
		w.removed++
		delete(w.members, step.ID)
	case MoveLeader:
		w.leader = step.ID
		w.clocks.reset()
	}
	w.clocks.did(step, of)
	return true
}

func count(v View) (voters, answering int) {
	for _, m := range v.Members {
		if m.Learner {
			continue
		}
		voters++
		if m.Answers {
			answering++
		}
	}
	return voters, answering
}

// after is a view in which a step was done.
func after(v View, step Step) View {
	v.Members = slices.Clone(v.Members)
	for i := range v.Members {
		m := &v.Members[i]
		switch {
		case step.Action == Promote && m.ID == step.ID:
			m.Learner = false
		case step.Action == MoveLeader:
			m.Leader = m.ID == step.ID
		}
	}
	switch step.Action {
	case Remove:
		v.Members = slices.DeleteFunc(v.Members, func(m Member) bool { return m.ID == step.ID })
	case Add:
		v.Members = append(v.Members, Member{ID: 1e6, Node: step.Node, Peer: step.Peer, Learner: true})
	case Promote, MoveLeader:
	}
	return v
}

func (w *world) judge(v View, step Step) {
	before, healthy := count(v)
	if healthy < quorum(before) {
		w.fail("step %+v without a quorum", step)
	}
	i := slices.IndexFunc(v.Members, func(m Member) bool { return m.ID == step.ID })
	if step.Action != Add && i < 0 {
		w.fail("step %+v of no member", step)
	}
	switch step.Action {
	case Add:
		h := w.hosts[step.Node]
		if h.drained || h.leaving || h.evicted || h.liveUntil < w.ticks {
			w.fail("a learner on host %+v", *h)
		}
		for _, m := range w.members {
			if m.node == step.Node {
				w.fail("a second member on %s", step.Node)
			}
		}
	case Promote:
		if m := v.Members[i]; !m.Learner || !m.InStep || !m.Answers {
			w.fail("promoted %+v", m)
		}
	case Remove:
		if m := v.Members[i]; m.Leader {
			w.fail("the leader was removed")
		}
	case MoveLeader:
		if m := v.Members[i]; m.Learner || !m.Answers || m.Leader {
			w.fail("the lead went to %+v", m)
		}
	}
	then := after(v, step)
	voters, answering := count(then)
	if voters == 0 || answering < quorum(voters) {
		w.fail("step %+v leaves %d of %d voters", step, answering, voters)
	}
	if learners := len(then.Members) - voters; learners > MaxLearners {
		w.fail("step %+v leaves %d learners", step, learners)
	}
	shrinks := step.Action == Remove && before > v.Goal()
	if before >= 3 && healthy == before && !shrinks && answering == quorum(voters) {
		w.fail("step %+v leaves no room for a failure", step)
	}
	if before%2 == 1 && voters%2 == 0 && !(step.Action == Remove && v.Members[i].Bare) {
		w.becomesOdd(then)
	}
}

// becomesOdd: if nothing else happens the number of voters is odd again after
// one more step, before which the leader may move.
func (w *world) becomesOdd(v View) {
	for range 2 {
		step, found := v.Next()
		if !found {
			break
		}
		v = after(v, step)
		if step.Action != MoveLeader {
			break
		}
	}
	if voters, _ := count(v); voters%2 == 0 {
		w.fail("the number of voters stays even: %+v", v)
	}
}

// happens has something happen that leaves the data of a quorum somewhere.
func (w *world) happens() {
	nodes := slices.Sorted(maps.Keys(w.hosts))
	h := w.hosts[nodes[w.rand.IntN(len(nodes))]]
	if h.evicted {
		return
	}
	switch n := w.rand.IntN(100); {
	case n < 30:
		h.up, h.since = !h.up, w.ticks
		w.note("%s up %v", h.node, h.up)
	case n < 40:
		h.drained = !h.drained
		w.note("%s drained %v", h.node, h.drained)
	case n < 48:
		w.loses(h, "disk", func(m *modelMember) { m.lost = m.started })
	case n < 53:
		w.loses(h, "evicted", func(*modelMember) { h.evicted = true })
	case n < 58:
		h.leaving = !h.leaving
		w.note("%s leaving %v", h.node, h.leaving)
	case n < 65:
		if len(w.hosts) < 8 {
			w.addHost()
		}
	case n < 70:
		w.want = []int{0, 1, 3, 5}[w.rand.IntN(4)]
		w.note("want %d", w.want)
	case n < 75: // power cut
		for _, h := range w.hosts {
			h.up, h.since = false, w.ticks
		}
		w.note("power cut")
	case n < 80:
		h.broken = !h.broken
		w.note("%s broken %v", h.node, h.broken)
	default:
		for _, h := range w.hosts {
			if !h.up {
				h.up, h.since = true, w.ticks
			}
		}
		w.note("all up")
	}
}

// loses has a host lose its member's data, or not if that would be the end.
func (w *world) loses(h *modelHost, what string, do func(*modelMember)) {
	all, whole := 0, 0
	for _, m := range w.members {
		if m.learner {
			continue
		}
		all++
		if !m.lost && !w.hosts[m.node].evicted && m.node != h.node {
			whole++
		}
	}
	if whole < quorum(all) {
		return
	}
	w.note("%s: %s", h.node, what)
	do(&modelMember{})
	for _, m := range w.members {
		if m.node == h.node {
			do(m)
		}
	}
}

// rests mends what can be mended, waits, and compares what is then with what
// should be.
func (w *world) rests() {
	for _, h := range w.hosts {
		h.broken = false
		if !h.up {
			h.up, h.since = true, w.ticks
		}
	}
	w.note("rest")
	for range 600 {
		w.pass()
		w.obey()
	}
	for range 100 {
		w.pass()
		if w.obey() {
			w.fail("it never comes to rest")
		}
	}
	good, kept := 0, 0
	for _, h := range w.hosts {
		if !h.drained && !h.leaving && !h.evicted {
			good++
		}
	}
	voters, learners := 0, 0
	for _, m := range w.members {
		h := w.hosts[m.node]
		if m.learner {
			learners++
		} else {
			voters++
			if h.drained && !h.leaving && !h.evicted {
				kept++
			}
		}
		if (h.leaving || h.evicted) && good > 0 {
			w.fail("a member on %s", h.node)
		}
		if m.lost {
			w.fail("a member without data on %s", h.node)
		}
	}
	want := 3
	if w.want != 0 {
		want = w.want
	}
	goal := 1
	for goal+2 <= min(want, good+kept) {
		goal += 2
	}
	if voters != goal || good >= goal && kept > 0 {
		w.fail("%d voters (%d of them on drained hosts) where %d hosts are good and %d voters wanted", voters, kept, good, want)
	}
	if copies := min(1, max(0, good-1)); goal == 1 && learners < copies || goal > 1 && learners > 0 || learners > 1 {
		w.fail("%d learners beside %d voters, %d good hosts", learners, voters, good)
	}
}

// TestModel: whatever happens, no step is one that must not be, and once nothing
// more happens the members are what they should be.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		w := newWorld(t, seed, 1+int(seed%6))
		for range 400 {
			if w.rand.IntN(12) == 0 {
				w.happens()
			}
			w.pass()
			w.obey()
		}
		w.note("seed %d", seed)
		w.rests()
	}
}

// TestPowerCut: all hosts lose power and come back within a minute, in every
// order: no member is removed, and no other added.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(t, seed, 3+int(seed%3))
		for range 60 {
			w.pass()
			w.obey()
		}
		if voters, _ := count(w.view()); voters != 3 {
			w.fail("%d voters", voters)
		}
		ids := w.ids
		back := map[string]int{}
		for node, h := range w.hosts {
			h.up, h.since = false, w.ticks
			back[node] = w.ticks + 1 + w.rand.IntN(25)
		}
		w.removed = 0
		for range 200 {
			for node, h := range w.hosts {
				if w.ticks >= back[node] && !h.up {
					h.up, h.since = true, w.ticks
				}
			}
			w.pass()
			w.obey()
		}
		if w.removed > 0 || w.ids != ids {
			w.fail("seed %d: a power cut changed the members", seed)
		}
	}
}
