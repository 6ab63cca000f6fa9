package group

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// request is one transaction of a sender.
type request struct {
	ctx   context.Context
	txn   store.Txn
	print footprint
	round *round // it goes in; set under the group's lock

	done chan struct{} // closed when the rest is there
	res  store.Result
	err  error
	// alone: nothing of it happened, and its sender is to send it by itself.
	alone    bool
	panicked any
}

// outcome is what a sender is answered.
func (r *request) outcome(kv store.KV) (store.Result, error) {
	switch {
	case r.panicked != nil:
		panic(r.panicked)
	case r.alone:
		return kv.Commit(r.ctx, r.txn)
	}
	return r.res, r.err
}

// round is transactions that go together.
type round struct {
	members []*request // without repetition, at least one
	overdue *time.Timer

	// Of a round that was composed; one that a sender goes alone in has none.
	print  footprint // of all members, but for what they read
	ctx    context.Context
	cancel context.CancelFunc // the store's answer is wanted by nobody
	ended  chan struct{}      // closed when every member has its outcome

	mu   sync.Mutex
	left int // members whose senders wait no longer
}

func newRound() *round {
	ctx, cancel := context.WithCancel(context.Background())
	return &round{print: footprintOf(store.Txn{}), ctx: ctx, cancel: cancel, ended: make(chan struct{})}
}

// admit takes a request in if it fits. The group's lock is held.
func (r *round) admit(q *request) bool {
	n, need := len(r.members)+1, max(r.print.need, q.print.need)
	if n > most || n > 1 && (n+reserve+need > maxOps || r.print.parts(q.print) || r.print.disturbs(q.print)) {
		return false
	}
	r.members, q.round = append(r.members, q), r
	r.print.need, r.print.epoch = need, max(r.print.epoch, q.print.epoch)
	maps.Copy(r.print.writes, q.print.writes)
	return true
}

// leave notes that a sender waits no longer; false when its outcome is there.
func (r *round) leave(q *request) bool {
	select {
	case <-q.done:
		return false
	default:
	}
	r.mu.Lock()
	r.left++
	last := r.left == len(r.members)
	r.mu.Unlock()
	if last {
		r.cancel()
		<-r.ended
	}
	return true
}

// run sends a round, and gives each member its outcome.
func (r *round) run(kv store.KV) {
	defer close(r.ended)
	defer r.cancel()
	undecided := r.members
	defer func() {
		if p := recover(); p != nil {
			for _, q := range undecided {
				q.panicked = p
				close(q.done)
			}
		}
	}()
	for len(undecided) > 0 {
		undecided = r.send(kv, undecided)
	}
}

// send sends some members, and returns those that are to be sent without the
// others.
func (r *round) send(kv store.KV, members []*request) (rest []*request) {
	if len(members) == 1 {
		res, err := kv.Commit(r.ctx, members[0].txn)
		members[0].answer(res, err)
		return nil
	}
	all := store.Txn{}
	for _, q := range members {
		all.Gives = all.Gives || q.txn.Gives
		all.Then = append(all.Then, store.Op{Kind: store.OpNested, Nested: &q.txn})
	}
	res, err := kv.Commit(r.ctx, all)
	switch {
	case err == nil && res.Done:
		for i, q := range members {
			q.answer(res.Nested[i], nil)
		}
	case all.Gives && errors.Is(err, store.ErrSuspect):
		for _, q := range members {
			if q.txn.Gives {
				q.answer(store.Result{}, err)
			} else {
				rest = append(rest, q)
			}
		}
	case err != nil && ofAll(err):
		for _, q := range members {
			q.answer(store.Result{}, err)
		}
	default:
		for _, q := range members {
			q.alone = true
			close(q.done)
		}
	}
	return rest
}

func (q *request) answer(res store.Result, err error) {
	q.res, q.err = res, err
	close(q.done)
}

// ofAll reports whether an error is about the store or this node, and so each
// transaction of a round would have met it. Any other is of one of them, and
// none happened.
func ofAll(err error) bool {
	return store.IsUnusable(err) || errors.Is(err, store.ErrFenced)
}
