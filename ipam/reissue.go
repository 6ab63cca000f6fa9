package ipam

import (
	"context"
	"net/netip"
)

// While the store is away no address can be taken, but one that this node
// gave up and never told the store of is still this node's: nobody else can
// have got it. (Where a release was sent and no answer came, somebody may.) It
// may be given again on the same network, bound in the
// journal alone, and written once the store is back, under the same token.
// That is what brings a rack back from a power cut: containers come up
// before the host that holds etcd does.

// reissuable tells whether a lease can be given again in a pool.
func (a *Allocator) reissuable(l lease, p pool) bool {
	return l.State == releasing && !l.Doubt && !l.Claimed && l.Created != 0 &&
		p.joined() && l.Network == p.Network
}

func (a *Allocator) reissue(l lease, p pool) error {
	l.State, l.Pool, l.Reissued = given, p.ID, true
	return a.ledger.keep(l)
}

// reissueAny gives the lowest address that this node released and the store
// does not know of, else one of an endpoint that is found to be dead.
func (a *Allocator) reissueAny(ctx context.Context, p pool) (netip.Prefix, bool) {
	views, err := a.views(p)
	if err != nil || !p.joined() {
		return netip.Prefix{}, false
	}
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

func (a *Allocator) reissueReleased(ctx context.Context, p pool, views []view) (netip.Prefix, bool) {
	released := a.ledger.leasesWhere(func(l lease) bool {
		return a.reissuable(l, p)
	})
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
func (a *Allocator) reissueHeld(ctx context.Context, p pool, was lease) bool {
	release, err := a.ledger.hold(ctx, was.place())
	if err != nil {
		return false
	}
	defer release()
	now, ok := a.ledger.lease(was.place())
	return ok && now == was && a.reissue(now, p) == nil
}
