package network

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
)

// Withdraw takes every network off this engine and leaves their definitions as
// they are: this host goes to another store, and what it goes from may go on
// without it. Nothing is made again by this Replicas afterwards. While containers
// here refer to any of them, running or stopped, nothing happens, and the error
// names them.
func (rs *Replicas) Withdraw(ctx context.Context, why string) error {
	rs.acting.Lock()
	defer rs.acting.Unlock()
	v, ready, err := rs.look(ctx)
	if err != nil {
		return fmt.Errorf("see which networks are in use here: %w", err)
	}
	if !ready {
		return fmt.Errorf("see which networks are in use here: %w: the engine or the store does not answer", store.ErrUnavailable)
	}
	var used []string
	for _, id := range slices.Sorted(maps.Keys(v.Users)) {
		if i := slices.IndexFunc(v.Journal, func(n journal.Network) bool { return n.ID == id }); i >= 0 && len(v.Users[id]) > 0 {
			used = append(used, fmt.Sprintf("%s (%s)", v.Journal[i].Title(), strings.Join(slices.Sorted(slices.Values(v.Users[id])), ", ")))
		}
	}
	if len(used) > 0 {
		return fmt.Errorf("%w: containers of this host, running or stopped, refer to them: %s: remove these containers first", ErrInUse, strings.Join(used, "; "))
	}
	rs.withdrawn = true
	for _, n := range v.Journal {
		if err := rs.removeReplica(ctx, plan.Step{Network: n, Engine: v.Engine[n.ID], Why: why}); err != nil {
			rs.withdrawn = false
			return fmt.Errorf("take network %s off this host: %w", n.Title(), err)
		}
	}
	if left := rs.Memory.Networks(); len(left) > 0 {
		rs.withdrawn = false
		return fmt.Errorf("%w: the engine keeps %s", ErrInUse, left[0].Title())
	}
	return nil
}
