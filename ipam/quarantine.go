package ipam

import (
	"context"

	"gvlan/cluster/store"
)

// An eviction does not free a node's addresses at once: its containers may
// still answer for them. They rest in quarantine, under the node's name, so
// that it can take its own again when it comes back, and are free afterwards.
// What the swarm's manager claims too rests under that claim instead.

// retake takes an address that an eviction took from this node, for the
// container that still has it. It fails to when somebody else changed it first.
func (a *Allocator) retake(ctx context.Context, l lease, it store.Item, found store.Lease) (done bool, err error) {
	rec := a.record(l)
	if l.Claimed && found.Claims != nil {
		rec = claimedRecord(found, rec)
	}
	if done, err = a.rewrite(ctx, l.place(), it, rec); err != nil || !done {
		return done, err
	}
	l.Created, l.Doubt = it.Created, false
	a.Log.Info("took an address again after this node's eviction", "address", l.Address, "endpoint", short(l.Endpoint))
	return true, a.ledger.keep(l)
}

// resting tells a record that this node's eviction left behind.
func (a *Allocator) resting(rec store.Lease) bool {
	return rec.State == store.Quarantined && rec.Node == a.Self.Node()
}

// vacated tells what an eviction leaves of a swarm worker's lease: the
// manager's claim, of the same life or at least of the same network, which no
// worker has joined since. If the manager means another task by it now, that
// one is refused until the container here is gone.
func vacated(l lease, it store.Item, rec store.Lease) bool {
	return l.Claimed && rec.Claims != nil && rec.Claims.Manager && !rec.Claims.Worker &&
		(it.Created == l.Created || rec.Network == l.Network)
}
