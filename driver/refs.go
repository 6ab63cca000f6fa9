package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gvlan/cluster/store"
)

// publishRefs writes which definitions this host's containers refer to, and
// which addresses its stopped ones want again, when that changed: a definition
// is in use wherever any does.
func (d *Driver) publishRefs(ctx context.Context, v view) error {
	refs := store.Refs{Networks: map[string][]string{}, Kept: v.kept}
	for _, n := range v.journal {
		if names := v.users[n.ID]; len(names) > 0 && bound(n) {
			refs.Networks[n.UUID] = slices.Sorted(slices.Values(names))
		}
	}
	if sameRefs(refs, v.refs[v.node]) {
		return nil
	}
	_, err := d.cfg.KV.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.RefsKey(v.node), store.Encode(refs))}})
	if errors.Is(err, store.ErrUnavailable) {
		return nil // tried again with the next look
	}
	if err != nil {
		return fmt.Errorf("publish the references of node %s: %w", v.node, err)
	}
	return nil
}

// bound tells whether the network stands, or stood until just now, for a
// definition.
func bound(n hostNetwork) bool {
	return n.Stage == StageCommitted || n.Stage == StageReplica || n.Stage == StageGone
}

func sameRefs(a, b store.Refs) bool {
	return maps.EqualFunc(a.Networks, b.Networks, slices.Equal[[]string]) && slices.Equal(a.Kept, b.Kept)
}
