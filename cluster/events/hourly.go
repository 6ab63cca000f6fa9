package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Granter makes an etcd lease of ttl seconds that nobody keeps alive; a
// *session.Session is one.
type Granter interface {
	Grant(ctx context.Context, ttl int64) (store.LeaseID, error)
}

// hourly is the etcd lease that events hang from, one for what is told in an
// hour: a host has few of them, however often its agent starts.
type hourly struct {
	keeper Keeper

	mu    sync.Mutex
	lease store.LeaseID
	until time.Time // it is hung from, by this host's clock
}

const (
	// hour is for how long one etcd lease is hung from.
	hour = time.Hour
	// day is how long an event is kept at least.
	day = 24 * time.Hour
)

// savedLease is how a Keeper has the lease.
type savedLease struct {
	Lease store.LeaseID `json:"lease"`
	Until int64         `json:"until"` // unix seconds
}

// openHourly reads the lease that the agent before hung its events from.
func openHourly(keeper Keeper) (*hourly, error) {
	h := &hourly{keeper: keeper}
	return h, keeper.Each(func(key string, value []byte) error {
		var saved savedLease
		if key == bucketKey && json.Unmarshal(value, &saved) == nil {
			h.lease, h.until = saved.Lease, time.Unix(saved.Until, 0)
		}
		return nil
	})
}

// at returns the lease of this hour.
func (h *hourly) at(ctx context.Context, now time.Time, from Granter) (store.LeaseID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lease != 0 && now.Before(h.until) && h.until.Sub(now) <= hour {
		return h.lease, nil
	}
	lease, err := from.Grant(ctx, int64((day+hour)/time.Second))
	if err != nil {
		return 0, err
	}
	h.set(lease, now.Add(hour))
	return lease, nil
}

// gone takes up no lease again that the store does not have: it was restored, or
// this host slept.
func (h *hourly) gone(lease store.LeaseID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lease == lease {
		h.set(0, time.Time{})
	}
}

// set keeps a lease beyond this agent, as far as the journal can: else the next
// one has a lease of its own. The caller holds mu.
func (h *hourly) set(lease store.LeaseID, until time.Time) {
	h.lease, h.until = lease, until
	if raw, err := json.Marshal(savedLease{lease, until.Unix()}); err == nil {
		_ = h.keeper.Keep(map[string][]byte{bucketKey: raw})
	}
}

// commit runs a transaction whose keys hang from the lease of this hour.
func (h *hourly) commit(ctx context.Context, now time.Time, kv store.KV, from Granter, txn func(store.LeaseID) store.Txn) error {
	for range 2 { // a lease that is gone is replaced once
		lease, err := h.at(ctx, now, from)
		if err != nil {
			return err
		}
		_, err = kv.Commit(ctx, txn(lease))
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		h.gone(lease)
	}
	return fmt.Errorf("the store forgets its leases at once: %w", store.ErrUnavailable)
}
