package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// suspectLook is how often a store that lost its past is looked at again.
const suspectLook = 2 * time.Second

// reassert writes this node's live leases into a store that lost its past
// (decision 19), as soon as that is seen. New addresses stay refused until an
// operator says `gvlan recover`: only a person knows whether every other
// node has done the same.
func (p *parts) reassert(ctx context.Context) error {
	asserted := int64(0) // the epoch: a store that takes that one's place has another
	for pause(ctx, suspectLook) {
		suspect, epoch := p.session.Trusted(), p.session.Epoch()
		if !errors.Is(suspect, store.ErrSuspect) {
			asserted = 0
			continue
		}
		if asserted == epoch {
			continue
		}
		if _, err := p.addresses.Reassert(ctx); err != nil {
			p.log.Warn("could not write this node's leases into the store yet", "error", err)
			continue
		}
		if p.session.Epoch() != epoch {
			continue
		}
		asserted = epoch
		p.log.Error("the store is not the one this node knew: no new address is given here until `gvlan recover` is run on every node", "why", suspect)
	}
	return nil
}

// pause waits, and tells whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// returnEvicted re-takes, after an eviction, what is still free of what this
// node's containers have.
func (p *parts) returnEvicted(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.session.Opened():
	}
	if !p.session.WasEvicted() {
		return nil
	}
	p.log.Warn("this node was evicted while it was away: its containers' addresses are taken again where they are free")
	for {
		_, err := p.addresses.Reassert(ctx)
		if err == nil {
			err = p.past().saveReturned(p.session.Returned(), p.session.Cluster())
		}
		if err == nil {
			return nil
		}
		p.log.Warn("could not take this node's addresses again yet", "error", err)
		if !pause(ctx, suspectLook) {
			return nil
		}
	}
}

// restartFailed starts the containers whose start failed while etcd was away,
// once each time it comes back, where --restart-failed asks for it: dockerd
// itself tries once and never again.
func (p *parts) restartFailed(ctx context.Context) error {
	away := true
	for p.config.RestartFailed && pause(ctx, suspectLook) {
		trusted := p.session.Trusted() == nil
		if trusted && away {
			if err := p.driver.RestartFailed(ctx); err != nil {
				p.log.Warn("could not look for containers whose start failed", "error", err)
				continue
			}
		}
		away = !trusted
	}
	return nil
}

// recoverRoute is where `gvlan recover` asks.
const recoverRoute = "/v1/recover"

// recovered is the answer of `gvlan recover`.
type recovered struct {
	Cluster   string   `json:"cluster"`
	Conflicts []string `json:"conflicts"` // addresses that stay with somebody else
}

// recover takes the store as it is for the truth, after this node's leases
// are in it; or this install for the node whose name it took.
func (p *parts) recover(ctx context.Context) (recovered, error) {
	if errors.Is(p.session.Trusted(), store.ErrForeign) {
		return recovered{Cluster: p.session.Cluster()}, p.session.Settle()
	}
	if err := p.session.Trusted(); !errors.Is(err, store.ErrSuspect) {
		if err == nil {
			err = errors.New("the store is trusted")
		}
		return recovered{}, fmt.Errorf("nothing to recover: %w", err)
	}
	conflicts, err := p.addresses.Reassert(ctx)
	if err != nil {
		return recovered{}, err
	}
	if err := p.session.Accept(ctx); err != nil {
		return recovered{}, err
	}
	r := recovered{Cluster: p.session.Cluster()}
	for _, c := range conflicts {
		r.Conflicts = append(r.Conflicts, fmt.Sprintf("%s of endpoint %s: %s", c.Address, c.Endpoint, c.Holder))
	}
	return r, nil
}
