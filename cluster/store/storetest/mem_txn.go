package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"gvlan/cluster/store"
)

// checkSize refuses what etcd's checkTxnRequest refuses: each level may have
// as many conditions or operations as its parent's limit leaves.
func checkSize(txn store.Txn, limit int) error {
	size := max(len(txn.If), len(txn.Then), len(txn.Else))
	if size > limit {
		return fmt.Errorf("%w: %d, at most %d here", errTooMany, size, limit)
	}
	for _, branch := range [][]store.Op{txn.Then, txn.Else} {
		for _, op := range branch {
			if op.Kind != store.OpNested {
				continue
			}
			if err := checkSize(*op.Nested, limit-size); err != nil {
				return err
			}
		}
	}
	return nil
}

// writes are the keys a list of operations may write.
type writes struct{ puts, deletes map[string]bool }

// checkWrites refuses what etcd's checkIntervals refuses: a key put twice,
// or put and deleted, by operations that could both run. The branches of one
// nested transaction exclude each other, so they may write the same keys.
func checkWrites(ops []store.Op) (writes, error) {
	all := writes{puts: map[string]bool{}, deletes: map[string]bool{}}
	for _, op := range ops {
		if op.Kind == store.OpDelete {
			all.deletes[op.Key] = true
		}
	}
	for _, op := range ops {
		if op.Kind != store.OpNested {
			continue
		}
		if err := all.addNested(*op.Nested); err != nil {
			return all, err
		}
	}
	for _, op := range ops {
		if op.Kind != store.OpPut {
			continue
		}
		if err := all.addPut(op.Key, nil); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (w writes) addNested(txn store.Txn) error {
	then, err := checkWrites(txn.Then)
	if err != nil {
		return err
	}
	other, err := checkWrites(txn.Else)
	if err != nil {
		return err
	}
	for key := range then.puts {
		if err := w.addPut(key, nil); err != nil {
			return err
		}
	}
	for key := range other.puts {
		if err := w.addPut(key, then.puts); err != nil {
			return err
		}
	}
	for _, nested := range []writes{then, other} {
		for key := range nested.deletes {
			w.deletes[key] = true
		}
	}
	return nil
}

// addPut notes one more put; except are keys whose earlier put excludes it.
func (w writes) addPut(key string, except map[string]bool) error {
	if w.deletes[key] || w.puts[key] && !except[key] {
		return fmt.Errorf("%w: %s", errDuplicate, key)
	}
	w.puts[key] = true
	return nil
}

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
