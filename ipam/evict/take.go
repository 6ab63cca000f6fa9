package evict

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"gvlan/cluster/store"
)

// batchSize is how many keys one transaction changes; etcd allows 128
// operations, nested ones included in the count of their own level.
const batchSize = 64

// change is one key an eviction rewrites or deletes.
type change struct {
	item  store.Item // as it was read; a key changed since is left alone
	value []byte     // nil: the key is deleted
	count *int       // grows when the change was made
}

// beginRest says that addresses of the node rest, before the first of them
// does: without it nobody would end their quarantine.
func (e *eviction) beginRest(ctx context.Context) error {
	ops, err := Rest(ctx, e.grant, store.Quarantine{Node: e.node, Host: e.called, Since: e.now().Unix()})
	if err != nil {
		return fmt.Errorf("begin the quarantine: %w", err)
	}
	begun, err := e.kv.Commit(ctx, store.Txn{If: []store.Cond{e.fence}, Then: ops})
	if err != nil {
		return fmt.Errorf("begin the quarantine: %w", err)
	}
	if !begun.Done {
		return ErrReturned
	}
	return nil
}

// Rest are the steps that write a node's Quarantine and have its addresses rest
// until an etcd lease ends.
func Rest(ctx context.Context, grant Grant, of store.Quarantine) ([]store.Op, error) {
	lease, err := grant(ctx, quarantineTTL)
	if err != nil {
		return nil, err
	}
	record := store.Encode(of)
	rest := store.Put(store.RestKey(of.Node), record)
	rest.Lease = lease
	return []store.Op{store.Put(store.QuarantineKey(of.Node), record), rest}, nil
}

// takeLeases takes the node's addresses and reservations back, and looks
// again until nothing of the node is left: an address the swarm or another
// network changed meanwhile is judged anew.
func (e *eviction) takeLeases(ctx context.Context) error {
	for found := true; found; {
		found = false
		_, err := e.kv.Scan(ctx, store.AllLeasesSpan(), store.Whole, func(page []store.Item) error {
			changes := e.changesOf(page)
			found = found || len(changes) > 0
			return e.apply(ctx, changes)
		})
		if err != nil {
			return fmt.Errorf("take its addresses: %w", err)
		}
	}
	return nil
}

// changesOf decides what becomes of the addresses of a page.
func (e *eviction) changesOf(page []store.Item) (changes []change) {
	for _, it := range page {
		if !bytes.Contains(it.Value, []byte(e.node)) {
			continue // spares reading what is others'
		}
		lease, err := store.Decode[store.Lease](it)
		if err != nil {
			e.log.Warn("lease unreadable: left alone", "err", err)
			continue
		}
		if c, ok := e.take(it, lease); ok {
			changes = append(changes, c)
		}
	}
	return changes
}

// take decides what becomes of one address.
func (e *eviction) take(it store.Item, l store.Lease) (change, bool) {
	switch {
	case l.State == store.Reserved:
		return e.takeReservation(it, l)
	case l.State != store.Leased || l.Node != e.node:
		return change{}, false
	case l.Claims != nil && l.Claims.Manager:
		return e.takeClaim(it, l)
	}
	// Who had it stays written, so that a returning node can take its own
	// addresses again while they rest.
	l.State, l.Claims, l.Since = store.Quarantined, nil, e.now().Unix()
	return change{item: it, value: store.Encode(l), count: &e.took.Leases}, true
}

// takeClaim takes a worker's claim; the manager's belongs to the swarm.
func (e *eviction) takeClaim(it store.Item, l store.Lease) (change, bool) {
	if !l.Claims.Worker {
		return change{}, false
	}
	l.Claims.Worker = false
	l.Node, l.Epoch, l.Endpoint = "", 0, ""
	return change{item: it, value: store.Encode(l), count: &e.took.Claims}, true
}

// takeReservation takes back what creates that never ended reserved.
func (e *eviction) takeReservation(it store.Item, l store.Lease) (change, bool) {
	before := len(l.By)
	l.By = slices.DeleteFunc(slices.Clone(l.By), func(by string) bool {
		_, node, unfinished := store.PoolOf(by)
		return unfinished && node == e.node
	})
	c := change{item: it, count: &e.took.Reservations}
	if len(l.By) > 0 {
		c.value = store.Encode(l)
	}
	return c, len(l.By) != before
}

// takePools gives back default pools of creates that never ended.
func (e *eviction) takePools(ctx context.Context) error {
	items, _, err := e.kv.List(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return fmt.Errorf("list default pools: %w", err)
	}
	var changes []change
	for _, it := range items {
		pool, err := store.Decode[store.DefaultPool](it)
		if err != nil {
			e.log.Warn("default pool unreadable: left alone", "err", err)
			continue
		}
		if pool.Node == e.node && len(pool.By) == 0 {
			changes = append(changes, change{item: it, count: &e.took.Pools})
		}
	}
	return e.apply(ctx, changes)
}

// apply makes changes in batches, each key by compare-and-swap of its own
// and all under the fence.
func (e *eviction) apply(ctx context.Context, changes []change) error {
	for batch := range slices.Chunk(changes, batchSize) {
		txn := store.Txn{If: []store.Cond{e.fence}}
		for _, c := range batch {
			op := store.Put(c.item.Key, c.value)
			if c.value == nil {
				op = store.Delete(c.item.Key)
			}
			txn.Then = append(txn.Then, store.Op{Kind: store.OpNested, Nested: &store.Txn{
				If:   []store.Cond{store.Unchanged(c.item.Key, c.item.Modified)},
				Then: []store.Op{op},
			}})
		}
		res, err := e.kv.Commit(ctx, txn)
		if err != nil {
			return err
		}
		if !res.Done {
			return ErrReturned
		}
		for i, nested := range res.Nested {
			if nested.Done {
				*batch[i].count++
			}
		}
	}
	return nil
}
