package ipam

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
)

// While the store is away no address can be taken, but one that this node
// gave up and never told the store of is still this node's: nobody else can
// have got it. (Where a release was sent and no answer came, somebody may.) It
// may be given again on the same network, bound in the
// journal alone, and written once the store is back, under the same token.
// That is what brings a rack back from a power cut: containers come up
// before the host that holds etcd does.
//
// It is this node's until an eviction's quarantine could be over. From then on,
// and after a start, when nothing tells how long the store has been away, the
// LAN is asked first.

// recent reports whether the store answered this agent so lately that nobody
// can have been given what this node has. A clock that was set, or stood still
// while the host slept, makes it no younger.
func (a *Allocator) recent() bool {
	last := a.contact.Load()
	if last == nil {
		return false
	}
	now := a.Now()
	ran, shown := now.Sub(*last), now.Round(0).Sub(last.Round(0))
	return max(ran, shown) < store.QuarantineRest && min(ran, shown) > -time.Minute
}

// stillOurs returns those of a network's leases that nobody else can have, or
// that nobody on the LAN answers for. It has what is left of Docker's call.
func (a *Allocator) stillOurs(ctx context.Context, network string, leases []lease) []lease {
	if len(leases) == 0 || a.recent() {
		return leases
	}
	if a.Ask == nil {
		return nil
	}
	var addrs []netip.Addr
	for _, l := range leases {
		addrs = append(addrs, l.Address)
	}
	answering, err := a.Ask(ctx, network, addrs)
	if err != nil {
		a.Log.Warn("etcd unreachable, and the LAN cannot be asked: no address is given again", "network", short(network), "err", err)
		return nil
	}
	if len(answering) > 0 {
		a.Log.Warn("etcd unreachable, and somebody on the LAN has addresses of this node: they are not given again", "network", short(network), "addresses", answering)
	}
	return slices.DeleteFunc(leases, func(l lease) bool { return slices.Contains(answering, l.Address) })
}

// reissuable tells whether a lease can be given again in a pool.
func (a *Allocator) reissuable(l lease, p opened) bool {
	return l.State == releasing && !l.Doubt && !l.Claimed && l.Created != 0 &&
		p.joined() && l.Network == p.Network
}

func (a *Allocator) reissue(l lease, p opened) error {
	l.State, l.Pool, l.Reissued = given, p.ID, true
	return a.ledger.keep(l)
}

// reissueAny gives the lowest address that this node released and the store
// does not know of, else one of an endpoint that is found to be dead.
func (a *Allocator) reissueAny(ctx context.Context, p opened) (netip.Prefix, bool) {
	views, err := a.views(p)
	if err != nil || !p.joined() {
		return netip.Prefix{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, withoutStore)
	defer cancel()
	if prefix, ok := a.reissueReleased(ctx, p, views); ok {
		return prefix, true
	}
	dead := a.ledger.leasesWhere(func(l lease) bool { return l.Network == p.Network && l.State == bound })
	for _, l := range dead {
		if closed, err := a.closeDead(ctx, l.Endpoint); err != nil || !closed {
			continue
		}
		if prefix, ok := a.reissueReleased(ctx, p, views); ok {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}

func (a *Allocator) reissueReleased(ctx context.Context, p opened, views []view) (netip.Prefix, bool) {
	released := a.ledger.leasesWhere(func(l lease) bool {
		return a.reissuable(l, p) && slices.ContainsFunc(views, func(v view) bool { return l.Segment == v.segment && v.subnet.Contains(l.Address) })
	})
	released = a.stillOurs(ctx, p.Network, released)
	for _, v := range views {
		for _, l := range released {
			if l.Segment == v.segment && v.subnet.Contains(l.Address) && a.reissueHeld(ctx, p, l) {
				return netip.PrefixFrom(l.Address, v.subnet.Bits()), true
			}
		}
	}
	return netip.Prefix{}, false
}

// reissueHeld gives one lease again if it still is what it was.
func (a *Allocator) reissueHeld(ctx context.Context, p opened, was lease) bool {
	release, err := a.ledger.hold(ctx, was.place())
	if err != nil {
		return false
	}
	defer release()
	now, ok := a.ledger.lease(was.place())
	return ok && now == was && a.reissue(now, p) == nil
}
