package gossip

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Standing is what the gossip says of a member.
type Standing string

const (
	// Alive: its peers get answers from it.
	Alive Standing = "alive"
	// Left: it said that it is leaving.
	Left Standing = "left"
	// Failed: it stopped answering, its peers agree.
	Failed Standing = "failed"
)

// Member is a node as the gossip of this node sees it.
type Member struct {
	Node     string
	Address  netip.AddrPort // of its membership listener
	Meta     Meta
	Standing Standing
	Since    time.Time // of Gossip, by this host's clock

	// What its own answers to direct probes said; zero until the first.
	// Direct is when the last came: an old one on a member that is alive
	// means that only other nodes still get through to it.
	Ack    Ack
	Direct time.Time
	RTT    time.Duration
	// Ahead is how far its clock was before this host's then, give or take half
	// of RTT; it is known where Ack has a Clock.
	Ahead time.Duration
}

// Event is a member that came, went or changed its metadata.
type Event struct {
	Member Member
	Before Standing // "" for a node that was not known
}

// forgetAfter is how long a member that is gone stays listed.
const forgetAfter = time.Hour

// table is the membership's own copy of who answers. memberlist calls its
// hooks under its lock, where asking memberlist anything deadlocks, so the
// hooks only write here and everybody else only reads here.
type table struct {
	now func() time.Time

	mu      sync.Mutex
	members map[string]Member
	alive   int
	flaps   uint64 // members that had Failed and came back
}

func newTable(now func() time.Time) *table {
	return &table{now: now, members: map[string]Member{}}
}

// saw notes an alive message of a node and tells what changed.
func (t *table) saw(node string, addr netip.AddrPort, meta Meta) Event {
	gossip := Alive
	if meta.Flags&Leaving != 0 {
		gossip = Left
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[node]
	before := m.Standing
	if before == Failed && gossip == Alive {
		t.flaps++
	}
	m.Node, m.Address, m.Meta = node, addr, meta
	return t.become(m, gossip)
}

// lost notes that a node is dead to memberlist, which does not say whether it
// left: its last metadata does.
func (t *table) lost(node string) Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.members[node]
	m.Node = node
	if m.Standing == Left {
		return Event{Member: m, Before: Left}
	}
	return t.become(m, Failed)
}

// become sets the gossip state; the table is locked.
func (t *table) become(m Member, gossip Standing) Event {
	before := m.Standing
	if before != gossip {
		m.Standing, m.Since = gossip, t.now()
		t.alive += boolInt(gossip == Alive) - boolInt(before == Alive)
	}
	t.members[m.Node] = m
	return Event{Member: m, Before: before}
}

// answered notes a direct answer of a node.
func (t *table) answered(node string, rtt time.Duration, ack Ack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.members[node]
	if !ok {
		return
	}
	m.Ack, m.RTT, m.Direct, m.Ahead = ack, rtt, t.now(), 0
	if !ack.Clock.IsZero() {
		// By the wall clocks: what a monotonic one says is of one host only.
		m.Ahead = ack.Clock.Sub(m.Direct.Round(0).Add(-rtt / 2))
	}
	t.members[node] = m
}

func (t *table) get(node string) (Member, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, ok := t.members[node]
	return m, ok
}

// count returns how many members answer, this node included.
func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.alive
}

// list returns every member in the order of names and forgets those that are
// gone for long.
func (t *table) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit := t.now().Add(-forgetAfter)
	for node, m := range t.members {
		if m.Standing != Alive && m.Since.Before(limit) {
			delete(t.members, node)
		}
	}
	return slices.SortedFunc(maps.Values(t.members), func(a, b Member) int {
		return strings.Compare(a.Node, b.Node)
	})
}

func (t *table) flapped() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flaps
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
