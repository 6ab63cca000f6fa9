package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/plan"
)

// publishRefs writes which definitions this host's containers refer to, and
// which addresses its stopped ones want again, when that changed: a definition
// is in use wherever any does.
func (d *Driver) publishRefs(ctx context.Context, v plan.View) error {
	refs := store.Refs{Networks: map[string][]string{}, Kept: v.Kept}
	for _, n := range v.Journal {
		if names := v.Users[n.ID]; len(names) > 0 && n.Bound() {
			refs.Networks[n.UUID] = slices.Sorted(slices.Values(names))
		}
	}
	if sameRefs(refs, v.Refs[v.Node]) {
		return nil
	}
	_, err := d.cfg.KV.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.RefsKey(v.Node), store.Encode(refs))}})
	if errors.Is(err, store.ErrUnavailable) {
		return nil // tried again with the next look
	}
	if err != nil {
		return fmt.Errorf("publish the references of node %s: %w", v.Node, err)
	}
	return nil
}

func sameRefs(a, b store.Refs) bool {
	return maps.EqualFunc(a.Networks, b.Networks, slices.Equal[[]string]) && slices.Equal(a.Kept, b.Kept)
}
