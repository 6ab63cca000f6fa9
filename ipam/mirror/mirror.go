package mirror

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
)

// StripeFor is how many addresses a node takes away from the lowest free one
// after it met another node there. Counted, not timed: no clock decides.
const StripeFor = 32

// Mirror is the local copy of which addresses of one subnet have a record in
// the store. It only proposes candidates: the transaction decides, so a
// mirror that lags costs a conflict and never an address given twice.
type Mirror struct {
	Segment string
	Subnet  netip.Prefix

	mu    sync.Mutex
	ready bool // the first list is in
	taken addrset.Set
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

// New is the mirror of a subnet of a segment, empty and not ready.
func New(segment string, subnet netip.Prefix, now func() time.Time) *Mirror {
	return &Mirror{Segment: segment, Subnet: subnet, learned: map[netip.Addr]learned{}, rests: rests{now: now}}
}

// Gone is an address whose record was deleted.
type Gone struct {
	Addr netip.Addr
	At   store.Revision
}

// Apply takes what Follow brings, and returns the records and deletions that
// are news: not those this node has written over since.
func (m *Mirror) Apply(c store.Change) (news []store.Item, deleted []Gone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Reset {
		if c.Revision < m.at {
			clear(m.learned) // the store went back: what it said before is void
		}
		m.taken.Fill(AddressesOf(c.Items))
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
			deleted = append(deleted, Gone{addr, e.At})
		} else {
			news = append(news, e.Item)
		}
	}
	m.relearn()
	return news, deleted
}

// relearn puts what was learned over what was applied, and forgets what the
// watch has caught up with.
func (m *Mirror) relearn() {
	for addr, l := range m.learned {
		if l.at <= m.at {
			delete(m.learned, addr)
		} else {
			m.set(addr, l.taken)
		}
	}
}

// Learn notes what a transaction of this node showed of an address at a
// revision.
func (m *Mirror) Learn(addr netip.Addr, taken bool, at store.Revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at <= m.at || at < m.learned[addr].at {
		return
	}
	m.learned[addr] = learned{taken, at}
	m.set(addr, taken)
}

func (m *Mirror) set(addr netip.Addr, taken bool) {
	if taken {
		m.taken.Add(addrset.Single(addr))
		return
	}
	if m.taken.Has(addr) {
		m.rests.began(addr)
	}
	m.taken.Remove(addrset.Single(addr))
}

// Has reports whether an address has a record, as far as is known.
func (m *Mirror) Has(addr netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken.Has(addr)
}

// rest has addresses that become free remembered so long.
func (m *Mirror) rest(longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rests.remember(longest)
}

// Longest is how long what becomes free is remembered.
func (m *Mirror) Longest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rests.keep
}

// Resting are the addresses that have been free for less than a cooldown.
func (m *Mirror) Resting(cooldown time.Duration) *addrset.Set {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rests.of(cooldown)
}

// IsReady reports whether the mirror has been filled.
func (m *Mirror) IsReady() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready
}

// Lose makes the mirror good for nothing until it is filled again.
func (m *Mirror) Lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = false
}

// Meet notes that another node took the address this one wanted.
func (m *Mirror) Meet() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contended = StripeFor
}

// Striped reports whether this node should keep to its stripe, and counts.
func (m *Mirror) Striped() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contended == 0 {
		return false
	}
	m.contended--
	return true
}

// Choose returns a free address of the ranges; which one is seed's say.
func (m *Mirror) Choose(ranges []netip.Prefix, seed netip.Addr, taken []*addrset.Set) (netip.Addr, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return addrset.Search(ranges, seed, slices.Concat(taken, []*addrset.Set{&m.taken}))
}

// AddressesOf reads the addresses of lease records by their keys.
func AddressesOf(items []store.Item) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(items))
	for _, it := range items {
		if _, addr, err := store.LeaseOf(it.Key); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
