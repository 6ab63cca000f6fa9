package ipam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// Allocator gives this node's containers addresses. Its methods may be
// called from any number of goroutines; those of different addresses do not
// wait for each other.
type Allocator struct {
	Config

	ledger    *ledger
	mirrors   *mirror.Mirrors
	macs      *macs
	kept      kept
	hosts     *hosts
	suspect   suspects[pool.Place]
	missing   missing
	conflicts conflicts
	answering answering
	strays    *strays
	kick      chan struct{}             // has one element while Run has something to do
	contact   atomic.Pointer[time.Time] // when the store last answered; nil: not since the start
	away      atomic.Bool               // the store did not answer the last call
	waited    atomic.Bool               // in vain, for the store to be opened
	compared  atomic.Int64              // the epoch in which compare was done
}

// New loads the journal. Nothing is read from the store before the first
// call or Run.
func New(c Config) (*Allocator, error) {
	c.fill()
	b, err := newLedger(c.Journal)
	if err != nil {
		return nil, err
	}
	return &Allocator{
		Config:  c,
		ledger:  b,
		mirrors: mirror.NewMirrors(c.Now),
		macs:    newMACs(),
		hosts:   &hosts{set: &addrset.Set{}},
		strays:  newStrays(),
		kick:    make(chan struct{}, 1),
	}, nil
}

func (c *Config) fill() {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Routes == nil {
		c.Routes = func() ([]netip.Prefix, error) { return nil, nil }
	}
}

// bounded limits one call's use of the store: Timeout, or a quarter of it
// while the store is known to be away, because Docker's stop makes several
// calls in a row and each of them waits.
func (a *Allocator) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.away.Load() {
		return context.WithTimeout(ctx, a.Timeout/4)
	}
	return context.WithTimeout(ctx, a.Timeout)
}

// wake makes Run look at what there is to do.
func (a *Allocator) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// distrust says in one sentence why no new address may be given, or nil.
func (a *Allocator) distrust() error {
	err := a.Self.Trusted()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrSuspect):
		return a.untrusted(err)
	case errors.Is(err, store.ErrFenced):
		return fmt.Errorf("no new address is given on this host: %w: restart its gvlan agent", err)
	}
	return fmt.Errorf("no new address can be given now: %w", err)
}

// untrusted is the sentence for a request while the store's past is lost.
func (a *Allocator) untrusted(err error) error {
	return fmt.Errorf("no new address is given in the cluster: %w: see `gvlan recover`", err)
}

// newLease is a lease of nobody yet.
func (a *Allocator) newLease(at pool.Place, p opened, kind store.LeaseKind) (lease, error) {
	nonce, err := mintNonce(a.Rand)
	return lease{
		Segment: at.Segment,
		Address: at.Addr,
		Nonce:   nonce,
		Kind:    kind,
		Since:   a.Now().Unix(),
		Network: p.Network,
		Pool:    p.ID,
		State:   given,
		Claimed: p.byWorker(),
	}, err
}

// record is a lease as the store keeps it.
func (a *Allocator) record(l lease) store.Lease {
	rec := store.Lease{
		State:    store.Leased,
		Kind:     l.Kind,
		Node:     a.Self.Node(),
		Epoch:    a.Self.Epoch(),
		Nonce:    l.Nonce,
		Network:  a.owner(l),
		Endpoint: l.Endpoint,
		Since:    l.Since,
	}
	if l.Claimed {
		rec.Claims = &store.Claims{Worker: true}
	}
	return rec
}

// owner is how the store names the network of a lease.
func (a *Allocator) owner(l lease) string {
	if n, ok := a.ledger.network(l.Network); ok && n.UUID != "" {
		return n.UUID
	}
	if l.Network != "" {
		return "engine:" + l.Network
	}
	id, err := pool.ParseID(l.Pool)
	if err != nil {
		return ""
	}
	return byPool(id.Nonce, a.Self.Node())
}
