package publish

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
	"gvlan/ipam/pool"
	"gvlan/ipam/wanted"
)

// mostKept bounds how many addresses a host keeps for its stopped containers,
// those that users gave first: they stand in one record of the store.
const mostKept = 1000

// TaskLabel marks a container of a swarm's task, which never starts again.
const TaskLabel = "com.docker.swarm.task.id"

// stopped is what stopped containers of this host want again: their --ip, or
// the addresses they had, which no engine tells of a stopped container. Across
// a restart of the agent this node's Refs remember them.
type stopped struct {
	mu      sync.Mutex
	had     map[had]held      // of containers that were seen to run
	named   func() bool       // the engine says which container asks
	created map[string]string // containers made since the last look that did not start: names by id
	waiting map[string]bool   // engine's ids of networks with a container that never ran, at the last look
	// idle are the containers that did not run at the last look and have not started
	// since: names by id, by the engine's id of a network.
	idle   map[string]map[string]string
	looked bool
	news   chan struct{} // closed at the next change of who is idle
}

// had is a container on a network.
type had struct{ container, network string } // ids; the network's is its uuid

// held is what it had there, beside what its user gave it.
type held struct {
	name  string
	addrs []netip.Addr
	since time.Time // it does not run; zero: it does
	gone  bool      // it was removed
}

func newStopped(named func() bool) *stopped {
	return &stopped{had: map[had]held{}, named: named, created: map[string]string{}, waiting: map[string]bool{}, idle: map[string]map[string]string{}, news: make(chan struct{})}
}

// note notes a container that was made, until it starts.
func (s *stopped) note(ev engine.Event) {
	if ev.Kind != engine.KindContainer {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ev.Action {
	case engine.ActionCreate:
		s.created[ev.ID] = ev.Attributes["name"]
		s.tell()
	case engine.ActionStart, engine.ActionDestroy:
		delete(s.created, ev.ID)
		for _, idle := range s.idle {
			delete(idle, ev.ID)
		}
	}
}

// Idle are the names of the containers that do not run and may be the one that asks
// for an address on a network: those that have it, and those that were just made,
// whose networks are not known yet.
func (s *stopped) Idle(network string) (names []string, looked bool, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, idle := range []map[string]string{s.idle[network], s.created} {
		names = slices.AppendSeq(names, maps.Values(idle))
	}
	return names, s.looked, s.news
}

// tell has whoever waits for news of idle containers look again.
func (s *stopped) tell() {
	close(s.news)
	s.news = make(chan struct{})
}

// Made are the containers that events told of before a look.
func (s *stopped) Made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.created))
}

// Newcomers reports whether a container that never ran may be the one that
// asks for an address on a network. It is told at once that one was made, and
// at the next look on which network.
func (s *stopped) Newcomers(network string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.created) > 0 || s.waiting[network]
}

// Heard takes an event of the engine: containers that are made and started.
func (ps *Node) Heard(ev engine.Event) {
	ps.Stopped.note(ev)
	if ev.Kind == engine.KindContainer && (ev.Action == engine.ActionStart || ev.Action == engine.ActionDestroy) {
		ps.Addresses.Began(ev.Attributes["name"])
	}
}

// Newcomers reports whether a container that never ran may be the one that asks
// for an address on a network.
func (ps *Node) Newcomers(network string) bool { return ps.Stopped.Newcomers(network) }

// Idle are the containers that may be the one that asks for an address on a network.
func (ps *Node) Idle(network string) (names []string, looked bool, news <-chan struct{}) {
	return ps.Stopped.Idle(network)
}

// Look takes over what the engine lists, and returns what is kept. made are
// the containers that are in the list because they were made before it.
//
// What a container had is kept for as long as options say of its network.
func (s *stopped) Look(containers []engine.Container, v plan.View, made []string, endpoint func(id string) (journal.Endpoint, bool), options func(network string) pool.Options) []store.Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range made {
		delete(s.created, id)
	}
	if len(s.had) == 0 { // of the agent before
		for _, k := range v.Refs[v.Node].Kept {
			if at := (had{k.Container, k.Network}); !k.Fixed {
				s.had[at] = held{k.Name, append(s.had[at].addrs, k.Address), time.Unix(k.Since, 0), k.Gone}
			}
		}
	}
	clear(s.waiting)
	clear(s.idle)
	listed := map[had]bool{}
	unknown := map[string]bool{} // containers on a network that the journal does not have
	var kept []store.Kept
	for _, c := range containers {
		for _, a := range c.Attachments {
			n, ok := v.AttachedTo(a)
			if !ok {
				unknown[c.ID] = true
			}
			if !ok || n.Foreign || n.Stage == journal.StageSwarm || c.Labels[TaskLabel] != "" {
				continue
			}
			at := had{c.ID, n.UUID}
			listed[at] = true
			switch c.State {
			case engine.StateRunning, engine.StatePaused, engine.StateRemoving:
				if e, joined := endpoint(a.EndpointID); joined {
					s.had[at] = held{name: c.Name, addrs: notGiven(e.Addresses(), a)}
				}
				continue
			case engine.StateCreated:
				s.waiting[n.ID] = true
			}
			if s.idle[n.ID] == nil {
				s.idle[n.ID] = map[string]string{}
			}
			s.idle[n.ID][c.ID] = c.Name
			h := s.had[at]
			if h.since.IsZero() || h.since.Unix() == 0 { // of an agent from before it was noted
				h.since = v.Now
			}
			if h.name = c.Name; len(h.addrs) > 0 {
				s.had[at] = h
			}
			kept = append(kept, keep(c, a, n, h, options(n.ID).KeepsStopped(v.Now.Sub(h.since)))...)
		}
	}
	for _, k := range v.Refs[v.Node].Kept {
		if unknown[k.Container] && v.Forgot(k.Network) {
			listed[had{k.Container, k.Network}] = true
			kept = append(kept, k)
		}
	}
	s.looked = true
	s.tell()
	kept = append(kept, s.removed(v, listed, options)...)
	slices.SortFunc(kept, func(a, b store.Kept) int {
		if a.Gone != b.Gone && b.Gone {
			return -1
		} else if a.Gone != b.Gone {
			return 1
		}
		if a.Fixed != b.Fixed && a.Fixed {
			return -1
		} else if a.Fixed != b.Fixed {
			return 1
		}
		return cmp.Or(strings.Compare(a.Segment, b.Segment), a.Address.Compare(b.Address), strings.Compare(a.Container, b.Container))
	})
	return kept[:min(len(kept), mostKept)]
}

// removed are the addresses of containers that are no more, for the next ones of
// their names: where the engine says which container asks. The others are forgotten.
func (s *stopped) removed(v plan.View, listed map[had]bool, options func(network string) pool.Options) (kept []store.Kept) {
	back := map[had]bool{} // names that a container has again, with an address
	for at, h := range s.had {
		if listed[at] {
			back[had{h.name, at.network}] = true
		}
	}
	for at, h := range s.had {
		if listed[at] {
			continue
		}
		if !h.gone && s.named() {
			h.gone, h.since = true, v.Now
			s.had[at] = h
		}
		i := slices.IndexFunc(v.Journal, func(n journal.Network) bool { return n.UUID == at.network })
		if i < 0 || h.name == "" || back[had{h.name, at.network}] || !h.gone || !options(v.Journal[i].ID).KeepsRemoved(v.Now.Sub(h.since)) {
			delete(s.had, at)
			continue
		}
		for _, addr := range h.addrs {
			kept = append(kept, store.Kept{
				Segment: v.Journal[i].Segment, Address: addr, Network: at.network, Container: at.container, Name: h.name, Gone: true, Since: h.since.Unix(),
			})
		}
	}
	return kept
}

// notGiven are the addresses of an attachment that its user did not give it.
func notGiven(all []netip.Addr, a engine.Attachment) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(all), func(addr netip.Addr) bool { return addr == a.Settings.IPv4 || addr == a.Settings.IPv6 })
}

// keep is what one stopped container wants again on a network: what its user
// gave it and, of a family without, what it had, while that is kept.
func keep(c engine.Container, a engine.Attachment, n journal.Network, had held, keeps bool) (kept []store.Kept) {
	one := store.Kept{Segment: n.Segment, Network: n.UUID, Container: c.ID, Name: c.Name}
	for _, given := range []netip.Addr{a.Settings.IPv4, a.Settings.IPv6} {
		if given.IsValid() {
			one.Address, one.Fixed = given, true
			kept = append(kept, one)
		}
	}
	for _, addr := range had.addrs {
		given := a.Settings.IPv4
		if addr.Is6() {
			given = a.Settings.IPv6
		}
		if !given.IsValid() && keeps {
			one.Address, one.Fixed, one.Since = addr, false, had.since.Unix()
			kept = append(kept, one)
		}
	}
	return kept
}

// Avoid tells the allocator what stopped containers of all hosts want again, and
// which addresses routers have that containers' routes go by: a container that was
// given one without asking could not start, for its own route.
func (ps *Node) Avoid(v plan.View) {
	ids := map[string]string{}
	for _, n := range v.Journal {
		ids[n.UUID] = n.ID
	}
	var all []wanted.Address
	for _, k := range v.Kept {
		all = append(all, wanted.Address{Segment: k.Segment, Address: k.Address, Fixed: k.Fixed, Gone: k.Gone, Network: ids[k.Network], Container: k.Name})
	}
	for node, refs := range v.Refs {
		if node == v.Node {
			continue
		}
		for _, k := range refs.Kept {
			one := wanted.Address{Segment: k.Segment, Address: k.Address}
			if k.Gone { // whichever host the next one of its name is on
				one.Network, one.Container, one.Gone = ids[k.Network], k.Name, true
			}
			all = append(all, one)
		}
	}
	for _, n := range v.Journal {
		for _, r := range n.Options.Routes {
			if r.Via.IsValid() && n.Stage != journal.StageGone {
				all = append(all, wanted.Address{Segment: n.Segment, Address: r.Via})
			}
		}
	}
	ps.Addresses.Avoid(all)
}
