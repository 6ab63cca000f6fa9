package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// For a while after a recovery the store may not know of a container whose host
// was left out of it. So the LAN is asked before an address is given: what
// answers there is not.

// askedAtOnce is how many candidates the LAN is asked for at a time: an answer
// is waited for 1.5 s, and a call has 4.
const askedAtOnce = 8

// answering are the addresses that were heard on the LAN since the caution
// began.
type answering struct {
	mu    sync.Mutex
	heard map[string]*addrset.Set // by segment; a set is replaced, never changed
}

// of returns the addresses of a segment that answered.
func (s *answering) of(segment string) *addrset.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.heard[segment]; set != nil {
		return set
	}
	return &addrset.Set{}
}

func (s *answering) add(segment string, addrs []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard = map[string]*addrset.Set{}
	}
	set := &addrset.Set{}
	if had := s.heard[segment]; had != nil {
		set = had.Clone()
	}
	for _, addr := range addrs {
		set.Add(addrset.Single(addr))
	}
	s.heard[segment] = set
}

func (s *answering) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.heard)
}

// cautious reports whether the LAN is to be asked.
func (rq *requests) cautious() bool {
	if rq.Ask == nil {
		return false
	}
	if rq.Self.Cautious() {
		return true
	}
	rq.answering.forget()
	return false
}

// candidate is an address that is free as far as the store knows. Its place is
// held.
type candidate struct {
	at      pool.Place
	view    view
	release func()
}

// silent holds the place of a free address that nobody answers for on the LAN.
func (c *picker) silent(ctx context.Context, network string) (candidate, error) {
	for {
		some, err := c.several(ctx)
		if err != nil {
			return candidate{}, err
		}
		addrs := make([]netip.Addr, len(some))
		for i, one := range some {
			addrs[i] = one.at.Addr
		}
		heard, err := c.a.askLAN(ctx, network, some[0].at.Segment, addrs)
		chosen := candidate{}
		for _, one := range some {
			if err == nil && chosen.release == nil && !heard.Has(one.at.Addr) {
				chosen = one
				continue
			}
			one.release()
		}
		if err != nil || chosen.release != nil {
			return chosen, err
		}
	}
}

// several holds the places of up to askedAtOnce free addresses of one segment.
func (c *picker) several(ctx context.Context) ([]candidate, error) {
	at, v, release, err := c.next(ctx)
	if err != nil {
		return nil, err
	}
	some := []candidate{{at, v, release}}
	for len(some) < askedAtOnce {
		at, v, release, ok, err := c.offer()
		if err != nil || !ok {
			break // one is enough
		}
		some = append(some, candidate{at, v, release})
	}
	return some, nil
}

// askLAN asks for addresses and returns all of the segment that ever answered.
// Where nobody can be asked, nobody is: a network without a parent has no LAN.
func (rq *requests) askLAN(ctx context.Context, network, segment string, addrs []netip.Addr) (*addrset.Set, error) {
	found, err := rq.Ask(ctx, network, addrs)
	switch {
	case ctx.Err() != nil:
		return nil, rq.unanswered(fmt.Errorf("%w: the LAN was still being asked, as is done for a while after a recovery", store.ErrUnavailable))
	case err != nil:
		rq.Log.Warn("an address is given without asking the LAN first, as is done for a while after a recovery", "network", short(network), "err", err)
	case len(found) > 0:
		rq.Log.Warn("addresses that the store has for free answer on the LAN: they are not given", "addresses", found, "segment", segment)
		rq.answering.add(segment, found)
	}
	return rq.answering.of(segment), nil
}

// checkSilent refuses an explicit address that answers on the LAN and that the
// store has for free: of one that it has not, it says more.
func (rq *requests) checkSilent(ctx context.Context, p journal.Pool, at pool.Place) error {
	if !rq.cautious() {
		return nil
	}
	if it, err := rq.read(ctx, at.Key()); err != nil || it.Created != 0 {
		return nil // as the transaction finds
	}
	heard, err := rq.askLAN(ctx, p.Network, at.Segment, []netip.Addr{at.Addr})
	if err != nil {
		return err
	}
	if heard.Has(at.Addr) {
		return fmt.Errorf("address %s answers on the LAN, though the store has it for free: a container that was not there for the cluster's recovery has it, or another machine", at.Addr)
	}
	return nil
}
