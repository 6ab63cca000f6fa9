package ipam

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/conflict"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// For a while after a recovery the store may not know of a container whose host
// was left out of it. So the LAN is asked before an address is given: what
// answers there is not.

// askedAtOnce is how many candidates the LAN is asked for at a time: an answer
// is waited for 1.5 s, and a call has 4.
const askedAtOnce = 8

// mostAtOnce is how many after some of which all answered: of each twice as many as
// of the last.
const mostAtOnce = 64

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

// silent holds the place of a free address that nobody answers for on the LAN.
func (c *picker) silent(ctx context.Context) (candidate, error) {
	for {
		first, err := c.next(ctx)
		if err != nil {
			return candidate{}, err
		}
		some := c.upTo(askedAtOnce, first)
		addrs := make([]netip.Addr, len(some))
		for i, one := range some {
			addrs[i] = one.at.Addr
		}
		heard, err := c.a.askLAN(ctx, c.network, some[0].at.Segment, addrs)
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

// askLAN asks for addresses and returns all of the segment that ever answered.
// Where nobody can be asked, nobody is: a network without a parent has no LAN.
func (rq *requests) askLAN(ctx context.Context, network, segment string, addrs []netip.Addr) (*addrset.Set, error) {
	found, err := rq.Ask(ctx, network, addrs)
	switch {
	case ctx.Err() != nil:
		return nil, rq.Unanswered(fmt.Errorf("%w: the LAN was still being asked, as is done for a while after a recovery", store.ErrUnavailable))
	case err != nil:
		rq.Log.Warn("an address is given without asking the LAN first, as is done for a while after a recovery", "network", node.Short(network), "err", err)
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
		return rq.lan().checkUnused(ctx, p, at)
	}
	if it, err := rq.Read(ctx, at.Key()); err != nil || it.Created != 0 {
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

func (rq *requests) lan() lanSide { return lanSide{rq} }

// checkUnused refuses an explicit address that somebody on the LAN answers for,
// where the store has it for free.
func (rq lanSide) checkUnused(ctx context.Context, p journal.Pool, at pool.Place) error {
	n, _ := rq.Memory.Addressing(p.Network)
	v, err := viewOf(p, n)
	if err != nil || !rq.asksFor(v) || rq.prober.Fresh(p.Network, at) {
		return nil
	}
	mac, answered := rq.prober.Ask(ctx, rq.onLAN(p.Network, []view{v}), []pool.Place{at})[at]
	if !answered {
		return nil
	}
	if it, err := rq.Read(ctx, at.Key()); err != nil || it.Created != 0 {
		return nil // as the transaction finds
	}
	return fmt.Errorf("address %s is in use on the LAN by MAC %s: give another one, or that machine another address", at.Addr, conflict.Called(mac.String(), rq.Vendor(mac)))
}

// Else the LAN is asked too (probe=), but for what is in the stock of addresses
// that nobody answered for lately.

// lanSide is what requests ask the LAN for, and the prober asks ahead.
type lanSide struct{ *requests }

// asksFor reports whether the LAN is asked for addresses of a view first.
func (rq lanSide) asksFor(v view) bool { return v.probe && rq.prober.Asks() }

// onLAN is what an address of a network is asked for by.
func (rq lanSide) onLAN(network string, views []view) conflict.Pool {
	of := conflict.Pool{ID: network, Network: rq.nameOf(network)}
	for _, v := range views {
		of.Segment, of.Ranges, of.Subnets = v.segment, append(of.Ranges, v.ranges...), append(of.Subnets, v.subnet)
	}
	return of
}

// nameOf is what people call a network.
func (rq lanSide) nameOf(network string) string {
	n, _ := rq.Memory.Addressing(network)
	return n.Name
}

// viewsOf are those of each family of a network that asks the LAN.
func (rq lanSide) viewsOf(network string) (all [][]view) {
	families := map[bool]bool{}
	for _, p := range rq.Memory.Pools(func(p journal.Pool) bool { return p.Network == network && !p.Closed && !p.ByManager() }) {
		v6 := p.Parsed.Subnet.Addr().Is6()
		if families[v6] {
			continue
		}
		families[v6] = true
		if views, err := rq.views(p); err == nil && len(views) > 0 && rq.asksFor(views[0]) {
			all = append(all, views)
		}
	}
	return all
}

// poolsOnLAN are the networks of this host that ask the LAN.
func (rq lanSide) poolsOnLAN() (all []conflict.Pool) {
	for _, network := range rq.pools.Joined() {
		if views := rq.viewsOf(network); len(views) > 0 {
			all = append(all, rq.onLAN(network, slices.Concat(views...)))
		}
	}
	return all
}

// poolOnLAN is one of them that has an address.
func (rq lanSide) poolOnLAN(at pool.Place) (of conflict.Pool, found bool) {
	for _, network := range rq.pools.Joined() {
		for _, views := range rq.viewsOf(network) {
			if slices.ContainsFunc(views, func(v view) bool { return v.segment == at.Segment && v.subnet.Contains(at.Addr) }) {
				return rq.onLAN(network, views), true
			}
		}
	}
	return conflict.Pool{}, false
}

// next are the addresses that a network would give next, as far as its mirrors
// know, so many of each family; known is false where they know nothing.
func (rq lanSide) next(network string, most int) (families [][]pool.Place, known bool) {
	for _, views := range rq.viewsOf(network) {
		c := picker{a: rq.requests, network: network, views: views, hosts: rq.holders.hostsNow(), late: rq.kept.late.Late(views[0].segment), passed: &addrset.Set{}}
		for _, v := range views {
			m := rq.mirrorOf(v)
			if !m.IsReady() {
				return nil, false
			}
			c.seen = append(c.seen, m)
		}
		families = append(families, c.peek(most))
	}
	return families, true
}

// peek are the next candidates, none of which is held.
func (c *picker) peek(most int) (next []pool.Place) {
	chosen := &addrset.Set{}
	for _, asked := range []bool{true, false} {
		for i, v := range c.views {
			want := mirror.Want{Ranges: v.ranges, Never: append(c.never(v), chosen), Order: v.order}
			if asked {
				want.Never = append(want.Never, c.late)
			}
			if v.order == pool.Lowest && c.a.mirrorOf(v).Contended() {
				want.Order = pool.Random // as hosts choose that keep apart
			}
			for len(next) < most {
				at, ok := c.a.Places.ChooseBusy(v.segment, func(own *addrset.Set) (netip.Addr, bool) {
					want := want
					want.Never = append([]*addrset.Set{own}, want.Never...)
					return c.seen[i].Choose(want, false)
				})
				if !ok {
					break
				}
				next = append(next, at)
				chosen.Add(addrset.Single(at.Addr))
			}
		}
	}
	return next
}

// unanswered leaves of the candidates those that nobody on the LAN answers for.
// Where the stock lacks one, some more are asked for along with it.
func (c *picker) unanswered(ctx context.Context, all []candidate) []candidate {
	if !c.a.lan().asksFor(c.views[0]) {
		return all
	}
	most := len(all)
	if slices.ContainsFunc(all, func(one candidate) bool { return !c.a.prober.Fresh(c.network, one.at) }) {
		c.asked = min(max(2*c.asked, askedAtOnce), mostAtOnce)
		all = c.upTo(max(most, c.asked), all...)
	}
	places := make([]pool.Place, len(all))
	for i, one := range all {
		places[i] = one.at
	}
	found := c.a.prober.Ask(ctx, c.a.lan().onLAN(c.network, c.views), places)
	var silent []candidate
	for _, one := range all {
		if _, answered := found[one.at]; answered || len(silent) == most {
			one.release()
		} else {
			silent = append(silent, one)
		}
	}
	return silent
}

// stocked are the addresses of a view that nobody answered for lately.
func (c *picker) stocked(v view) (all []netip.Prefix) {
	for _, at := range c.a.prober.Of(c.network) {
		if at.Segment == v.segment && within(v.ranges, at.Addr) {
			all = append(all, netip.PrefixFrom(at.Addr, at.Addr.BitLen()))
		}
	}
	if v.order == pool.Random {
		rand.New(c.a.Mirrors.Draws()).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	return all
}
