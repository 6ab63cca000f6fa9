package mirror

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
)

// Mirror is the local copy of which addresses of one subnet have a record in
// the store, and which of the others rest. It only proposes candidates: the
// transaction decides, so a mirror that lags costs a conflict and never an
// address given twice.
type Mirror struct {
	Segment string
	Subnet  netip.Prefix

	mu    sync.Mutex
	ready bool // the first list is in
	known *records
	at    store.Revision // known is true of it, but for learned
	// listed is filled by a list that is under way; what was written after
	// floor is news in it.
	listed *records
	floor  store.Revision
	// learned is what this node's own transactions showed ahead of the
	// watch: a watch event that is older than it is history.
	learned map[netip.Addr]learned
	turns   turns
	wear    *wear // nil: nobody asks for the order it makes
}

// Shown is what a transaction showed of an address.
type Shown uint8

const (
	// Free: it has no record.
	Free Shown = iota
	// Taken: it has one.
	Taken
	// Resting: it has none any more, and its cooldown began.
	Resting
)

type learned struct {
	shown Shown
	at    store.Revision
}

// records are the addresses of a subnet by what the store has of them.
type records struct {
	taken *addrset.Index // have a record
	late  *addrset.Index // taken, or resting
	rests ages           // whose cooldown is not over, by when it began
}

func newRecords(subnet netip.Prefix) *records {
	return &records{taken: addrset.NewIndex(subnet), late: addrset.NewIndex(subnet)}
}

// set notes whether an address has a record, and reports whether that is
// another word than before.
func (r *records) set(addr netip.Addr, taken bool) (changed bool) {
	if taken {
		r.late.Add(addr)
		return r.taken.Add(addr)
	}
	if !r.rests.has(addr) {
		r.late.Remove(addr)
	}
	return r.taken.Remove(addr)
}

// rest notes that the cooldown of an address began.
func (r *records) rest(addr netip.Addr, since store.Revision) {
	r.rests.enter(addr, since)
	r.late.Add(addr)
}

// rested notes that a cooldown is over.
func (r *records) rested(addr netip.Addr) {
	r.rests.leave(addr)
	if !r.taken.Has(addr) {
		r.late.Remove(addr)
	}
}

// New is the mirror of a subnet of a segment, empty and not ready. Draws makes
// hosts that contend choose apart.
func New(segment string, subnet netip.Prefix, draws rand.Source) *Mirror {
	return &Mirror{Segment: segment, Subnet: subnet, known: newRecords(subnet), learned: map[netip.Addr]learned{}, turns: turns{draws: draws}}
}

// Gone is an address whose record was deleted.
type Gone struct {
	Addr netip.Addr
	At   store.Revision
}

// Begin starts a list that replaces what is known, page by page, and does so
// when Apply brings its end. What was written after since is news where no
// list was before.
func (m *Mirror) Begin(since store.Revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listed, m.floor = newRecords(m.Subnet), m.at
	if m.at == 0 {
		m.floor = since
	}
}

// Since is that of Begin, for a list that began before anybody knew it.
func (m *Mirror) Since(since store.Revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.floor == 0 {
		m.floor = since
	}
}

// Page takes a part of a list, which may be of keys alone, and returns the
// records in it that are news.
func (m *Mirror) Page(items []store.Item) (news []store.Item) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range items {
		if _, addr, ok := store.CooldownOf(it.Key); ok {
			m.listed.rest(addr, it.Modified)
			continue
		}
		_, addr, err := store.LeaseOf(it.Key)
		if err != nil {
			continue
		}
		m.listed.set(addr, true)
		if m.floor > 0 && it.Modified > m.floor && it.Modified > m.learned[addr].at {
			news = append(news, it)
		}
	}
	return news
}

// Apply takes what store.FollowKeys brings, and returns the records and
// deletions that are news: not those this node has written over since.
func (m *Mirror) Apply(c store.Change) (news []store.Item, deleted []Gone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Reset {
		if c.Revision < m.at {
			clear(m.learned) // the store went back: what it said before is void
		}
		m.known, m.listed = m.listed, nil
		m.ready = true
	}
	m.at = c.Revision
	for _, e := range c.Events {
		if _, addr, ok := store.CooldownOf(e.Item.Key); ok {
			m.applyRest(addr, e)
			continue
		}
		_, addr, err := store.LeaseOf(e.Item.Key)
		if err != nil || e.At <= m.learned[addr].at {
			continue
		}
		m.set(addr, !e.Deleted, e.At)
		if e.Deleted {
			deleted = append(deleted, Gone{addr, e.At})
		} else {
			news = append(news, e.Item)
		}
	}
	m.relearn()
	return news, deleted
}

// applyRest takes over that a cooldown began or is over. What was learned of the
// address says nothing of that, but for that it rests, which relearn says again.
func (m *Mirror) applyRest(addr netip.Addr, e store.Event) {
	if e.Deleted {
		m.known.rested(addr)
	} else {
		m.known.rest(addr, e.At)
	}
}

// relearn puts what was learned over what was applied, and forgets what the
// watch has caught up with.
func (m *Mirror) relearn() {
	for addr, l := range m.learned {
		if l.at <= m.at {
			delete(m.learned, addr)
		} else {
			m.show(addr, l)
		}
	}
}

// Learn notes what a transaction of this node showed of an address at a
// revision.
func (m *Mirror) Learn(addr netip.Addr, shown Shown, at store.Revision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at <= m.at || at < m.learned[addr].at {
		return
	}
	m.learned[addr] = learned{shown, at}
	if m.show(addr, m.learned[addr]) && shown != Taken {
		m.turns.gaveBack(addr)
	}
}

func (m *Mirror) show(addr netip.Addr, l learned) (changed bool) {
	if l.shown == Resting {
		m.known.rest(addr, l.at)
	}
	return m.set(addr, l.shown == Taken, l.at)
}

func (m *Mirror) set(addr netip.Addr, taken bool, at store.Revision) (changed bool) {
	changed = m.known.set(addr, taken)
	if changed && m.wear != nil {
		m.wear.note(addr, taken, at)
	}
	return changed
}

// Has reports whether an address has a record, as far as is known.
func (m *Mirror) Has(addr netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.taken.Has(addr)
}

// Rests reports whether an address has a cooldown that is not over, as far as
// is known.
func (m *Mirror) Rests(addr netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.rests.has(addr)
}

// Counts are how many addresses have a record, and how many rest.
func (m *Mirror) Counts() (taken, resting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.taken.Len(), len(m.known.rests.since)
}

// Usage is what has become of some addresses.
type Usage struct {
	Used    uint64 // have a record
	Resting uint64 // have none, and their cooldown is not over
	Free    uint64 // neither; math.MaxUint64 if so many or more
}

// Usage counts what has become of those addresses of the subnet, as far as is
// known.
func (m *Mirror) Usage(of *addrset.Set) (u Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for run := range of.Intervals() {
		first, last := run.First(), run.Last()
		used, late, free := m.known.taken.Count(first, last), m.known.late.Count(first, last), m.known.late.CountFree(first, last)
		u.Used, u.Resting = u.Used+used, u.Resting+late-used
		if u.Free += free; u.Free < free {
			u.Free = math.MaxUint64
		}
	}
	return u
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
