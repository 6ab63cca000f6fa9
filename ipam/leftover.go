package ipam

import (
	"context"
	"fmt"

	"gvlan/cluster/store"
)

// Leftovers returns the endpoints of this node that have a record in the
// store and that its memory does not know: their agent died between what it
// wrote to the store and what it noted of it, or their journal is lost. Any of
// them may be of a start that is under way. While the store is away or not
// trusted there are none.
func (a *Allocator) Leftovers(ctx context.Context) ([]string, error) {
	if a.Self.Trusted() != nil {
		return nil, nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	items, _, err := a.list(ctx, store.NodeEndpointsSpan(a.Self.Node()))
	if err != nil {
		return nil, fmt.Errorf("list this node's endpoints: %w", err)
	}
	var left []string
	for _, it := range items {
		id := store.NameOf(it.Key)
		if _, known := a.ledger.endpoint(id); known || a.ledger.hasLeaseOf(id) {
			continue
		}
		left = append(left, id)
	}
	return left, nil
}

// DropLeftover deletes the record of an endpoint that nothing here knows, with
// what holds its hardware address, if that is still so.
func (a *Allocator) DropLeftover(ctx context.Context, endpoint string) error {
	if _, known := a.ledger.endpoint(endpoint); known || a.ledger.hasLeaseOf(endpoint) {
		return nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	key := store.EndpointKey(a.Self.Node(), endpoint)
	for {
		it, err := a.read(ctx, key)
		if err != nil || it.Created == 0 {
			return err
		}
		txn := store.Txn{If: []store.Cond{store.Unchanged(key, it.Modified)}, Then: []store.Op{store.Delete(key)}}
		if e, err := store.Decode[store.Endpoint](it); err == nil { // else nothing tells of an address
			if err := a.unclaimMAC(ctx, &txn, e); err != nil {
				return err
			}
		}
		if res, err := a.commit(ctx, txn); err != nil || res.Done {
			return err
		}
	}
}

// hasLeaseOf tells whether an endpoint has an address here.
func (b *ledger) hasLeaseOf(endpoint string) bool {
	return len(b.leasesWhere(func(l lease) bool { return l.Endpoint == endpoint && l.State == bound })) > 0
}
