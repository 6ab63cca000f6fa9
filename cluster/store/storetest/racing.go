package storetest

import (
	"context"
	"fmt"

	"gvlan/cluster/store"
)

// Racing is a store in which somebody else changes a key just before a commit
// arrives: the first, unless some are spared.
type Racing struct {
	*Mem
	Op    store.Op // what the other does
	Spare int      // commits that nothing happens before
}

// Commit implements store.KV.
func (r *Racing) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	r.Spare--
	if r.Spare == -1 {
		if _, err := r.Mem.Commit(ctx, store.Txn{Then: []store.Op{r.Op}}); err != nil {
			return store.Result{}, fmt.Errorf("race: %w", err)
		}
	}
	return r.Mem.Commit(ctx, txn)
}
