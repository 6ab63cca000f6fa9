package ipam

import (
	"context"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// An eviction does not free a node's addresses at once: its containers may
// still answer for them. They rest in quarantine, under the node's name, so
// that it can take its own again when it comes back, and are free afterwards.

// retake takes an address of this node out of quarantine for the container
// that still has it. It fails to when somebody ended the quarantine first.
func (a *Allocator) retake(ctx context.Context, l lease, it store.Item) (done bool, err error) {
	if done, err = a.rewrite(ctx, l.place(), it, a.record(l)); err != nil || !done {
		return done, err
	}
	l.Created, l.Doubt = it.Created, false
	a.Log.Info("took an address out of quarantine again", "address", l.Address, "endpoint", short(l.Endpoint))
	return true, a.ledger.keep(l)
}

// resting tells a record that this node's eviction left behind.
func (a *Allocator) resting(rec store.Lease) bool {
	return rec.State == store.Quarantined && rec.Node == a.Self.Node()
}

// EndQuarantines frees the addresses that were put into quarantine before
// that time, by the clock of who put them there. It returns how many.
func (a *Allocator) EndQuarantines(ctx context.Context, before time.Time) (int, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	items, _, err := a.list(ctx, store.AllLeasesSpan())
	if err != nil {
		return 0, err
	}
	freed := 0
	for _, it := range items {
		rec, err := store.Decode[store.Lease](it)
		if err != nil || rec.State != store.Quarantined || rec.Since >= before.Unix() {
			continue
		}
		res, err := a.commit(ctx, store.Txn{
			If:   []store.Cond{store.Unchanged(it.Key, it.Modified)},
			Then: []store.Op{store.Delete(it.Key)},
		})
		if err != nil {
			return freed, fmt.Errorf("end a quarantine: %w", err)
		}
		if res.Done {
			freed++
		}
	}
	return freed, nil
}
