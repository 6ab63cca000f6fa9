package ipam

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// stripeFor is how many addresses a node takes away from the lowest free one
// after it met another node there. Counted, not timed: no clock decides.
const stripeFor = 32

// mirror is the local copy of which addresses of one subnet have a record in
// the store. It only proposes candidates: the transaction decides, so a
// mirror that lags costs a conflict and never an address given twice.
type mirror struct {
	segment string
	subnet  netip.Prefix

	mu    sync.Mutex
	ready bool // the first list is in
	taken intervals
	at    store.Revision // taken is true of it, but for learned
	// learned is what this node's own transactions showed ahead of the
	// watch: a watch event that is older than it is history.
	learned   map[netip.Addr]learned
	contended int // addresses still to be taken from this node's stripe
	rests     rests
}

type learned struct {
	taken bool
	at    store.Revision
}

func newMirror(segment string, subnet netip.Prefix, now func() time.Time) *mirror {
	return &mirror{segment: segment, subnet: subnet, learned: map[netip.Addr]learned{}, rests: rests{now: now}}
}

// gone is an address whose record was deleted.
type gone struct {
	addr netip.Addr
	at   store.Revision
}

// apply takes what Follow brings, and returns the records and deletions that
// are news: not those this node has written over since.
func (m *mirror) apply(c store.Change) (news []store.Item, deleted []gone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Reset {
		if c.Revision < m.at {
			clear(m.learned) // the store went back: what it said before is void
		}
		m.taken.fill(numbersOf(c.Items))
		m.ready = true
	}
	m.at = c.Revision
	for _, it := range c.Items {
		if _, addr, err := store.LeaseOf(it.Key); err == nil && c.Revision > m.learned[addr].at {
			news = append(news, it)
		}
	}
	for _, e := range c.Events {
		_, addr, err := store.LeaseOf(e.Item.Key)
		if err != nil || e.At <= m.learned[addr].at {
			continue
		}
		m.set(addr, !e.Deleted)
		if e.Deleted {
			deleted = append(deleted, gone{addr, e.At})
		} else {
			news = append(news, e.Item)
		}
	}
	m.relearn()
	return news, deleted
}

// relearn puts what was learned over what was applied, and forgets what the
// watch has caught up with.
func (m *mirror) relearn() {
	for addr, l := range m.learned {
		if l.at <= m.at {
			delete(m.learned, addr)
		} else {
			m.set(addr, l.taken)
		}
	}
}

// learn notes what a transaction of this node showed of an address at a
// revision.
func (m *mirror) learn(addr netip.Addr, taken bool, at store.Revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at <= m.at || at < m.learned[addr].at {
		return
	}
	m.learned[addr] = learned{taken, at}
	m.set(addr, taken)
}

func (m *mirror) set(addr netip.Addr, taken bool) {
	if taken {
		m.taken.add(single(addr))
		return
	}
	if m.taken.contains(numberOf(addr)) {
		m.rests.began(addr)
	}
	m.taken.remove(single(addr))
}

// has tells whether an address has a record, as far as is known.
func (m *mirror) has(addr netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken.contains(numberOf(addr))
}

// rest has addresses that become free remembered so long.
func (m *mirror) rest(longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rests.remember(longest)
}

// resting are the addresses that have been free for less than a cooldown.
func (m *mirror) resting(cooldown time.Duration) *intervals {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rests.of(cooldown)
}

// isReady tells whether the mirror has been filled.
func (m *mirror) isReady() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready
}

// lose makes the mirror good for nothing until it is filled again.
func (m *mirror) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = false
}

// meet notes that another node took the address this one wanted.
func (m *mirror) meet() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contended = stripeFor
}

// striped tells whether this node should keep to its stripe, and counts.
func (m *mirror) striped() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contended == 0 {
		return false
	}
	m.contended--
	return true
}

// choose returns a free address of the ranges; which one is seed's say.
func (m *mirror) choose(ranges []netip.Prefix, seed number, taken []*intervals) (netip.Addr, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return chooseFrom(ranges, seed, slices.Concat(taken, []*intervals{&m.taken}))
}

func chooseFrom(ranges []netip.Prefix, seed number, taken []*intervals) (netip.Addr, bool) {
	for _, within := range ranges {
		if addr, ok := search(within, seed, taken...); ok {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// numbersOf reads the addresses of lease records by their keys.
func numbersOf(items []store.Item) []number {
	numbers := make([]number, 0, len(items))
	for _, it := range items {
		if _, addr, err := store.LeaseOf(it.Key); err == nil {
			numbers = append(numbers, numberOf(addr))
		}
	}
	return numbers
}
