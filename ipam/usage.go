package ipam

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
)

// Usage is how full a subnet of one of this host's networks is: of the addresses
// that are given to who asks for none in particular, so without what is excluded,
// is reserved by an operator or for the network itself (its gateway) or is a host's own.
type Usage struct {
	Network string // the engine's id
	Subnet  netip.Prefix
	mirror.Usage
}

// Usage tells of every subnet that this host's networks give addresses of, as
// far as its mirrors know: it asks nobody. A subnet whose mirror is not filled is
// left out, since nothing is known of it.
func (rq *requests) Usage() (all []Usage) {
	hosts := rq.holders.hostsNow()
	for _, p := range rq.Memory.Pools(func(p journal.Pool) bool { return p.Joined() && !p.Closed && !p.ByManager() }) {
		n, _ := rq.Memory.Addressing(p.Network)
		v, err := viewOf(p, n)
		if err != nil {
			continue // its requests say so
		}
		m := rq.mirrorOf(v)
		if !m.IsReady() {
			continue
		}
		given := &addrset.Set{}
		for _, r := range v.ranges {
			given.Add(addrset.Of(r))
		}
		kept := &addrset.Set{}
		for _, addr := range p.Reserved() {
			kept.Add(addrset.Single(addr))
		}
		given.Subtract(kept)
		given.Subtract(v.excluded)
		given.Subtract(hosts)
		given.Subtract(rq.kept.book.In(v.segment))
		all = append(all, Usage{Network: p.Network, Subnet: v.subnet, Usage: m.Usage(given)})
	}
	return all
}

// Counts is what became of the requests for addresses since the start.
type Counts struct {
	Given    uint64 // or reserved
	Full     uint64 // nothing was free
	Withheld uint64 // the store did not answer, or is not trusted
	Refused  uint64 // for any other reason: taken, excluded, in no pool
	// Raced counts candidates that another node took first; another was then
	// tried.
	Raced uint64
}

// counts is Counts while it grows.
type counts struct{ given, full, withheld, refused, raced atomic.Uint64 }

// Counts says what became of the requests for addresses.
func (rq *requests) Counts() Counts {
	c := &rq.counts
	return Counts{Given: c.given.Load(), Full: c.full.Load(), Withheld: c.withheld.Load(), Refused: c.refused.Load(), Raced: c.raced.Load()}
}

// full says that a network has no address left.
type full struct{ error }

// note counts a request by how it ended.
func (c *counts) note(err error) {
	_, isFull := errors.AsType[full](err)
	switch {
	case err == nil:
		c.given.Add(1)
	case isFull:
		c.full.Add(1)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrSuspect), errors.Is(err, store.ErrForeign), errors.Is(err, store.ErrFenced):
		c.withheld.Add(1)
	default:
		c.refused.Add(1)
	}
}
