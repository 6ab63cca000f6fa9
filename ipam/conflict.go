package ipam

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Conflict is an address of this node that somebody else holds in the store:
// the record of a living lease or reservation was gone, and somebody came first.
type Conflict struct {
	Segment  string
	Address  netip.Addr
	Endpoint string // this node's endpoint that has the address; "": it is reserved for a network here
	Holder   string // a sentence's end: "in use by container web on node h1"
}

// conflicts are those found since the start, by place.
type conflicts struct {
	mu  sync.Mutex
	all map[pool.Place]Conflict
}

// add tells whether a conflict is news.
func (c *conflicts) add(at pool.Place, found Conflict) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had, known := c.all[at]
	if c.all == nil {
		c.all = map[pool.Place]Conflict{}
	}
	c.all[at] = found
	return !known || had != found
}

// only forgets those that matter no more, and returns the others.
func (c *conflicts) only(matters func(pool.Place, Conflict) bool) []Conflict {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.all, func(at pool.Place, found Conflict) bool { return !matters(at, found) })
	return slices.SortedFunc(maps.Values(c.all), func(x, y Conflict) int {
		return cmp.Or(cmp.Compare(x.Segment, y.Segment), x.Address.Compare(y.Address))
	})
}

// Conflicts returns the addresses of this node's endpoints and networks that
// somebody else has. One of an endpoint lasts until the endpoint is deleted,
// since its link stays silenced.
func (a *Allocator) Conflicts() []Conflict {
	return a.conflicts.only(func(at pool.Place, c Conflict) bool {
		if c.Endpoint == "" {
			_, reserved := a.ledger.reservedAt(at)
			return reserved
		}
		l, known := a.ledger.lease(at)
		return known && l.State == bound && l.Endpoint == c.Endpoint
	})
}

// conflict tells that somebody else holds the address of a bound lease, and
// has the endpoint's link silenced: two answers for one address harm both. The
// lease is one of no record from then on, so that its release takes nobody's.
func (a *Allocator) conflict(ctx context.Context, l lease, rec store.Lease) *Conflict {
	c := Conflict{Segment: l.Segment, Address: l.Address, Endpoint: l.Endpoint, Holder: a.holderOf(ctx, l.Address, rec)}
	l.Created = 0
	if err := a.ledger.keep(l); err != nil {
		a.Log.Error("that an address is somebody else's by now is not journaled", "address", l.Address, "error", err)
	}
	if !a.conflicts.add(l.place(), c) {
		return &c
	}
	a.Log.Error("an address of a container on this node has another holder: its link is taken down; stop one of the two and start the other again",
		"address", l.Address, "segment", l.Segment, "endpoint", short(l.Endpoint), "holder", c.Holder)
	if a.Endpoints == nil {
		return &c
	}
	if err := a.Endpoints.Silence(l.Endpoint, l.Address); err != nil {
		a.Log.Error("the link of an address that somebody else has is still up", "address", l.Address, "endpoint", short(l.Endpoint), "error", err)
	}
	return &c
}

// reservationConflict tells that somebody holds an address that is reserved
// for a network here. There is no link to silence: a gateway is the LAN's.
func (a *Allocator) reservationConflict(ctx context.Context, at pool.Place, p opened, rec store.Lease) {
	c := Conflict{Segment: at.Segment, Address: at.Addr, Holder: a.holderOf(ctx, at.Addr, rec)}
	if a.conflicts.add(at, c) {
		n, _ := a.ledger.network(p.Network)
		a.Log.Error("an address that is reserved for a network on this node has a holder: stop it",
			"address", at.Addr, "segment", at.Segment, "network", n.title(), "holder", c.Holder)
	}
}

// holderOf says who a record gives an address to.
func (a *Allocator) holderOf(ctx context.Context, addr netip.Addr, rec store.Lease) string {
	if rec.State == store.Reserved {
		return a.reservedFor(ctx, addr, rec.By)
	}
	return a.heldBy(ctx, rec.Node, rec.Endpoint)
}
