package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store"
)

// maxOps is etcd's default limit on the conditions or operations of one
// transaction; a nested one gets what its parent leaves of it.
const maxOps = 128

var (
	errTooMany   = errors.New("too many operations in one transaction")
	errDuplicate = errors.New("a key is written twice in one transaction")
)

// Commit implements store.KV.
func (m *Mem) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	if err := m.enterCommit(ctx); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	res, err := m.commit(txn)
	if err == nil {
		err = m.reply()
	}
	if err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	return res, nil
}

func (m *Mem) commit(txn store.Txn) (store.Result, error) {
	if err := checkSize(txn, maxOps); err != nil {
		return store.Result{}, err
	}
	for _, branch := range [][]store.Op{txn.Then, txn.Else} {
		if _, err := checkWrites(branch); err != nil {
			return store.Result{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	verdict := m.judge(txn)
	if err := m.checkLeases(txn, verdict); err != nil {
		return store.Result{}, err
	}
	run := &running{m: m, rev: m.state.rev + 1}
	res := run.txn(txn, verdict)
	m.record(run.events)
	stamp(&res, m.state.rev)
	return res, nil
}

// record makes the events of one transaction history. The caller holds mu.
func (m *Mem) record(events []store.Event) {
	if len(events) == 0 {
		return
	}
	m.state.rev++
	m.history = append(m.history, events...)
	m.news()
}

// verdict is the outcome of a transaction's conditions, with those of the
// nested ones of the branch that runs.
type verdict struct {
	done   bool
	nested []verdict
}

func (v verdict) branch(txn store.Txn) []store.Op {
	if v.done {
		return txn.Then
	}
	return txn.Else
}

// judge evaluates every condition against the state before the transaction.
func (m *Mem) judge(txn store.Txn) verdict {
	v := verdict{done: true}
	for _, cond := range txn.If {
		if !m.holds(cond) {
			v.done = false
		}
	}
	for _, op := range v.branch(txn) {
		if op.Kind == store.OpNested {
			v.nested = append(v.nested, m.judge(*op.Nested))
		}
	}
	return v
}

func (m *Mem) holds(cond store.Cond) bool {
	e := m.state.items[cond.Key]
	switch cond.Kind {
	case store.Modified:
		return e.Modified == cond.Is
	case store.NoOlder:
		return e.Modified >= cond.Is
	}
	return e.Created == cond.Is
}

// checkLeases refuses the whole transaction when a put that would run hangs
// from a lease that is gone.
func (m *Mem) checkLeases(txn store.Txn, v verdict) error {
	for _, op := range v.branch(txn) {
		switch op.Kind {
		case store.OpNested:
			if err := m.checkLeases(*op.Nested, v.nested[0]); err != nil {
				return err
			}
			v.nested = v.nested[1:]
		case store.OpPut:
			if op.Lease != 0 && m.state.leases[op.Lease] == nil {
				return fmt.Errorf("put %s: lease %x: %w", op.Key, int64(op.Lease), store.ErrNotFound)
			}
		}
	}
	return nil
}

// running is a transaction at work.
type running struct {
	m      *Mem
	rev    store.Revision
	events []store.Event
}

func (r *running) txn(txn store.Txn, v verdict) store.Result {
	res := store.Result{Done: v.done}
	nested := v.nested
	for _, op := range v.branch(txn) {
		switch op.Kind {
		case store.OpPut:
			r.put(op)
		case store.OpDelete:
			r.delete(op.Key)
		case store.OpGet:
			if e, ok := r.m.state.items[op.Key]; ok {
				res.Items = append(res.Items, e.copy())
			}
		case store.OpNested:
			res.Nested = append(res.Nested, r.txn(*op.Nested, nested[0]))
			nested = nested[1:]
		}
	}
	return res
}

func (r *running) put(op store.Op) {
	e := r.m.state.items[op.Key]
	if e.Created == 0 {
		e.Key, e.Created = op.Key, r.rev
	}
	e.Value, e.Modified, e.lease = bytes.Clone(op.Value), r.rev, op.Lease
	r.m.state.items[op.Key] = e
	r.events = append(r.events, store.Event{Item: e.copy(), At: r.rev})
}

func (r *running) delete(key string) {
	if _, ok := r.m.state.items[key]; !ok {
		return
	}
	delete(r.m.state.items, key)
	gone := store.Item{Key: key, Modified: r.rev}
	r.events = append(r.events, store.Event{Item: gone, Deleted: true, At: r.rev})
}

// stamp sets the revision of a result and of those nested in it.
func stamp(res *store.Result, rev store.Revision) {
	res.Revision = rev
	for i := range res.Nested {
		stamp(&res.Nested[i], rev)
	}
}
