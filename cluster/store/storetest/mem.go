package storetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Mem is an in-memory store. It behaves like one etcd member: revisions
// start at 1, a transaction is judged whole against the state before it, the
// history feeds watches until it is compacted, and leases expire when its
// clock is moved by Advance. Its Faults hit every user of it; use a Wire to
// hit one.
type Mem struct {
	Faults
	// PageSize is how many items a page of a Scan has; 0: 1,000.
	PageSize int

	mu        sync.Mutex
	state     state
	history   []store.Event // ascending, after the compaction
	compacted store.Revision
	life      int           // counts Restore and Wipe: watches of an older life end
	asked     int           // counts Progress
	wake      chan struct{} // closed and replaced when a watch has news
	clock     time.Duration
	lastLease store.LeaseID
}

// state is what a snapshot of a store holds.
type state struct {
	rev    store.Revision
	items  map[string]entry
	leases map[store.LeaseID]*lease
}

type entry struct {
	store.Item
	lease store.LeaseID
}

// NewMem makes an empty store, at revision 1.
func NewMem() *Mem {
	return &Mem{state: emptyState(), wake: make(chan struct{})}
}

func emptyState() state {
	return state{rev: 1, items: map[string]entry{}, leases: map[store.LeaseID]*lease{}}
}

// Get implements store.KV.
func (m *Mem) Get(ctx context.Context, key string) (store.Item, error) {
	if err := m.enter(ctx); err != nil {
		return store.Item{}, fmt.Errorf("get %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.state.items[key]
	if !ok {
		return store.Item{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return e.copy(), nil
}

// List implements store.KV.
func (m *Mem) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	if err := m.enter(ctx); err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", span.From, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.within(span), m.state.rev, nil
}

// Scan implements store.KV. Each page is a request of its own.
func (m *Mem) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	if err := m.enter(ctx); err != nil {
		return 0, fmt.Errorf("scan %s: %w", span.From, err)
	}
	m.mu.Lock()
	items, rev, life := m.within(span), m.state.rev, m.life
	m.mu.Unlock()
	first := true
	for items := range slices.Chunk(items, cmp.Or(m.PageSize, 1000)) {
		if !first {
			if err := m.enterAgain(ctx, rev, life); err != nil {
				return 0, fmt.Errorf("scan %s: %w", span.From, err)
			}
		}
		first = false
		if parts == store.KeysOnly {
			for i := range items {
				items[i].Value = nil
			}
		}
		if err := page(items); err != nil {
			return 0, err
		}
	}
	return rev, nil
}

// enterAgain is the way the next page of a revision is asked for.
func (m *Mem) enterAgain(ctx context.Context, rev store.Revision, life int) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if rev < m.compacted || life != m.life {
		return store.ErrCompacted
	}
	return nil
}

// within copies the items of a span, in key order. The caller holds mu.
func (m *Mem) within(span store.Span) (items []store.Item) {
	for _, key := range slices.Sorted(maps.Keys(m.state.items)) {
		if span.Contains(key) {
			items = append(items, m.state.items[key].copy())
		}
	}
	return items
}

// Revision returns the store's revision.
func (m *Mem) Revision() store.Revision {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.rev
}

// Compact forgets the history up to rev: a Watch after an older revision
// ends with ErrCompacted.
func (m *Mem) Compact(_ context.Context, rev store.Revision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rev <= m.compacted || rev > m.state.rev {
		return fmt.Errorf("compact to %d: want a revision after %d and up to %d", rev, m.compacted, m.state.rev)
	}
	m.compacted = rev
	m.history = slices.DeleteFunc(m.history, func(ev store.Event) bool { return ev.At < rev })
	m.news()
	return nil
}

// Snapshot is a copy of a Mem that Restore brings back.
type Snapshot struct{ state state }

// Snapshot copies the store as it is.
func (m *Mem) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Snapshot{m.state.clone()}
}

// Restore brings an earlier state back, revision and all, as an operator
// does who restores an etcd snapshot. Running watches end.
func (m *Mem) Restore(s Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	back := s.state.clone()
	for id, l := range back.leases {
		if m.state.leases[id] == nil { // it ended meanwhile, and lives again
			back.leases[id] = &lease{ttl: l.ttl, expires: m.clock + l.ttl, gone: make(chan struct{})}
		}
	}
	m.replace(back)
}

// RestoreBumped is Restore with etcdutl's --bump-revision and --mark-compacted:
// the revision goes on from where it was, and older ones are compacted.
func (m *Mem) RestoreBumped(s Snapshot) {
	m.mu.Lock()
	before := m.state.rev
	m.mu.Unlock()
	m.Restore(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.rev = before + 1000
	m.compacted = m.state.rev
}

// Wipe makes the store empty and new, as a lost data directory does.
func (m *Mem) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replace(emptyState())
}

// replace puts another state in place. The caller holds mu.
func (m *Mem) replace(s state) {
	for id, l := range m.state.leases {
		if _, kept := s.leases[id]; !kept {
			close(l.gone)
		}
	}
	m.state, m.history, m.compacted = s, nil, s.rev
	m.life++
	m.news()
}

func (s state) clone() state {
	// The *lease values are shared on purpose: KeepAlive calls hang from them.
	return state{rev: s.rev, items: maps.Clone(s.items), leases: maps.Clone(s.leases)}
}

// news wakes every watch. The caller holds mu.
func (m *Mem) news() {
	close(m.wake)
	m.wake = make(chan struct{})
}

func (e entry) copy() store.Item {
	it := e.Item
	it.Value = bytes.Clone(it.Value)
	return it
}

type lease struct {
	ttl     time.Duration
	expires time.Duration // on the Mem's clock
	keepers int           // KeepAlive calls at work
	gone    chan struct{} // closed when the lease ends
}

// Grant implements store.Leaser.
func (m *Mem) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	if err := m.enter(ctx); err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastLease++
	d := time.Duration(ttl) * time.Second
	m.state.leases[m.lastLease] = &lease{ttl: d, expires: m.clock + d, gone: make(chan struct{})}
	return m.lastLease, nil
}

// KeepAlive implements store.Leaser.
func (m *Mem) KeepAlive(ctx context.Context, id store.LeaseID, renewed func(store.Revision)) error {
	ended, leave, err := m.begin(ctx)
	if err != nil {
		return fmt.Errorf("keep lease %x alive: %w", int64(id), err)
	}
	defer leave()
	l := m.keep(id, +1)
	if l == nil {
		return fmt.Errorf("keep lease %x alive: %w", int64(id), store.ErrNotFound)
	}
	defer m.keep(id, -1)
	again := time.NewTicker(l.ttl / 3)
	defer again.Stop()
	for {
		renewed(m.Revision())
		select {
		case <-ctx.Done():
			return nil
		case <-l.gone:
			return fmt.Errorf("keep lease %x alive: %w", int64(id), store.ErrNotFound)
		case <-ended:
			return fmt.Errorf("keep lease %x alive: %w", int64(id), store.ErrUnavailable)
		case <-again.C:
		}
	}
}

// keep renews a lease and counts its keepers; nil when it is gone.
func (m *Mem) keep(id store.LeaseID, keepers int) *lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.state.leases[id]
	if l != nil {
		l.keepers += keepers
		l.expires = m.clock + l.ttl
	}
	return l
}

// Revoke implements store.Leaser.
func (m *Mem) Revoke(ctx context.Context, id store.LeaseID) error {
	if err := m.enter(ctx); err != nil {
		return fmt.Errorf("revoke lease %x: %w", int64(id), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(id)
	return nil
}

// Advance moves the clock leases expire by. A lease that a KeepAlive holds
// does not expire.
func (m *Mem) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock += d
	for _, id := range slices.Sorted(maps.Keys(m.state.leases)) {
		if l := m.state.leases[id]; l.keepers == 0 && l.expires <= m.clock {
			m.end(id)
		}
	}
}

// end deletes a lease and its keys in one transaction. The caller holds mu.
func (m *Mem) end(id store.LeaseID) {
	l := m.state.leases[id]
	if l == nil {
		return
	}
	delete(m.state.leases, id)
	close(l.gone)
	run := &running{m: m, rev: m.state.rev + 1}
	for _, key := range slices.Sorted(maps.Keys(m.state.items)) {
		if m.state.items[key].lease == id {
			run.delete(key)
		}
	}
	m.record(run.events)
}

// Put writes a key, by a transaction that compares nothing.
func Put(ctx context.Context, kv store.KV, key string) error {
	_, err := kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put(key, []byte("x"))}})
	return err
}
