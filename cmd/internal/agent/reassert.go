package agent

import (
	"context"
	"errors"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam"
)

// suspectLook is how often a store that lost its past is looked at again.
const suspectLook = 2 * time.Second

// asserted is what a node has written its records into.
type asserted struct {
	epoch int64  // of the store: one that takes its place has another
	round string // of the gate
}

// reassert writes what this node holds into a store that lost its past, as soon
// as that is found here or anywhere (decision 19), and says so to the others.
// Nothing new is given until somebody says `gvlan recover`: only a person knows
// whether every other node has done the same.
func (p *parts) reassert(ctx context.Context) error {
	var done asserted
	for store.Sleep(ctx, suspectLook) {
		why, now := p.session.Trusted(), asserted{p.session.Epoch(), p.session.Round()}
		if !errors.Is(why, store.ErrSuspect) {
			done = asserted{}
			continue
		}
		if done != now {
			if _, err := p.reassertOnce(ctx, now.round); err != nil {
				p.log.Warn("could not write this node's leases into the store yet", "error", err)
				continue
			}
			if p.session.Epoch() != now.epoch {
				continue
			}
			done = now
			p.log.Error("this node's leases are in the store again: no new address is given until `gvlan recover` is run on one host", "why", why)
		}
		if p.session.Recovered() {
			if err := p.session.Accept(ctx); err != nil {
				p.log.Warn("could not accept the recovered store yet", "error", err)
			}
		}
	}
	return nil
}

// reassertOnce writes what this node holds, and tells the others.
func (p *parts) reassertOnce(ctx context.Context, round string) ([]ipam.Conflict, error) {
	conflicts, err := p.addresses.Reassert(ctx)
	if err != nil {
		return nil, err
	}
	return conflicts, p.session.Reasserted(ctx, round)
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
		if !store.Sleep(ctx, suspectLook) {
			return nil
		}
	}
}

// restartFailed starts the containers whose start failed while etcd was away,
// once each time it comes back, where --restart-failed asks for it: dockerd
// itself tries once and never again.
func (p *parts) restartFailed(ctx context.Context) error {
	away := true
	for p.config.RestartFailed && store.Sleep(ctx, suspectLook) {
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
