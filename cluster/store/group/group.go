package group

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// most is how many transactions go together.
const most = 64

// patience is for how long a round that is not answered holds up others.
const patience = 250 * time.Millisecond

// Group is a store whose Commits share a transaction when they come while one
// is under way. Reads and watches pass through.
type Group struct {
	store.KV

	mu      sync.Mutex
	turn    *round     // the one under way that others wait for; nil: none
	waiting []*request // in order of arrival
}

// New puts a group in front of a store.
func New(kv store.KV) *Group { return &Group{KV: kv} }

// Commit implements store.KV.
func (g *Group) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	r := &request{ctx: ctx, txn: txn, print: footprintOf(txn), done: make(chan struct{})}
	if alone := g.join(r); alone != nil {
		defer g.end(alone)
		return g.KV.Commit(ctx, txn)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if g.leave(r) {
			return store.Result{}, fmt.Errorf("commit: %w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
	return r.outcome(g.KV)
}

// join has a request wait, or returns the round it goes alone in.
func (g *Group) join(r *request) *round {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.turn != nil {
		g.waiting = append(g.waiting, r)
		return nil
	}
	alone := &round{members: []*request{r}}
	g.begin(alone)
	return alone
}

// begin makes a round the one that others wait for, for as long as patience
// lasts. The caller holds mu.
func (g *Group) begin(r *round) {
	g.turn = r
	r.overdue = time.AfterFunc(patience, func() { g.pass(r) })
}

// end is the end of a round.
func (g *Group) end(r *round) {
	r.overdue.Stop()
	g.pass(r)
}

// pass gives the turn to the next round, if the round still has it.
func (g *Group) pass(r *round) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.turn != r {
		return
	}
	g.turn = nil
	if next := g.compose(); next != nil {
		g.begin(next)
		go func() {
			defer g.end(next)
			next.run(g.KV)
		}()
	}
}

// compose takes a round out of those who wait; nil when nobody does. The
// caller holds mu.
func (g *Group) compose() *round {
	var left []*request
	next := newRound()
	for _, r := range g.waiting {
		if !next.admit(r) {
			left = append(left, r)
		}
	}
	g.waiting = left
	if len(next.members) == 0 {
		next.cancel()
		return nil
	}
	return next
}

// leave takes a request back whose sender waits no longer; false when its
// outcome is there. The last to leave a round sees its end.
func (g *Group) leave(r *request) bool {
	g.mu.Lock()
	if i := slices.Index(g.waiting, r); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.mu.Unlock()
		return true
	}
	under := r.round
	g.mu.Unlock()
	return under.leave(r)
}
