package storetest

import (
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
