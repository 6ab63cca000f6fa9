package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gvlan/cluster/store"
)

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
