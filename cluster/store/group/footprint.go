package group

import "gvlan/cluster/store"

// maxOps is etcd's default limit on the conditions or operations of one
// transaction.
const maxOps = 128

// reserve is what a session may add to each list of a transaction.
const reserve = 4

// footprint is what a transaction may do to the store, whichever of its
// branches run.
type footprint struct {
	reads, writes map[string]bool
	need          int   // the least limit that etcd accepts it under
	epoch         int64 // it was decided in; 0: any will do
}

func footprintOf(txn store.Txn) footprint {
	f := footprint{reads: map[string]bool{}, writes: map[string]bool{}, epoch: txn.DecidedIn()}
	f.need = f.add(txn)
	return f
}

// add notes the keys of a transaction and returns what it needs.
func (f footprint) add(txn store.Txn) (need int) {
	for _, c := range txn.If {
		f.reads[c.Key] = true
	}
	deepest := 0
	for _, branch := range [][]store.Op{txn.Then, txn.Else} {
		for _, op := range branch {
			switch op.Kind {
			case store.OpPut, store.OpDelete:
				f.writes[op.Key] = true
			case store.OpGet:
				f.reads[op.Key] = true
			case store.OpNested:
				deepest = max(deepest, f.add(*op.Nested))
			}
		}
	}
	return max(len(txn.If), len(txn.Then), len(txn.Else)) + deepest
}

// parts reports whether two were decided in different epochs, of which a session
// refuses one.
func (f footprint) parts(g footprint) bool {
	return f.epoch != 0 && g.epoch != 0 && f.epoch != g.epoch
}

// disturbs reports whether one writes what the other compares, reads or writes:
// judged at one moment, the other then finds something else than after it.
func (f footprint) disturbs(g footprint) bool {
	return meet(f.writes, g.writes) || meet(f.writes, g.reads)
}

// meet reports whether two sets share a key.
func meet(a, b map[string]bool) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	for key := range a {
		if b[key] {
			return true
		}
	}
	return false
}
