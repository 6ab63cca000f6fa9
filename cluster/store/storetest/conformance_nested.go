package storetest

import (
	"fmt"
	"testing"

	"gvlan/cluster/store"
)

// take is a nested transaction that takes a key when it is free, else reads
// who has it.
func take(key, value string) store.Op {
	return store.Op{Kind: store.OpNested, Nested: &store.Txn{
		If:   []store.Cond{store.Absent(key)},
		Then: []store.Op{store.Put(key, []byte(value))},
		Else: []store.Op{store.Get(key)},
	}}
}

var nestedTrials = map[string]func(*testing.T, *trial){
	"each nested transaction has its own outcome": func(t *testing.T, r *trial) {
		held := r.put("/b", "other")
		res := r.commit(store.Txn{Then: []store.Op{take("/a", "me"), take("/b", "me"), store.Get("/b"), take("/c", "me")}})
		if !res.Done || len(res.Nested) != 3 || len(res.Items) != 1 {
			t.Fatalf("result %+v, want 3 nested and 1 item", res)
		}
		for i, want := range []bool{true, false, true} {
			if got := res.Nested[i]; got.Done != want || got.Revision != res.Revision {
				t.Errorf("nested %d: done %v at %d, want %v at %d", i, got.Done, got.Revision, want, res.Revision)
			}
		}
		if it, ok := res.Nested[1].Item("/b"); !ok || it.Created != held || string(it.Value) != "other" {
			t.Errorf("the loser read %+v, %v", it, ok)
		}
		r.holds(map[string]string{"/a": "me", "/b": "other", "/c": "me"})
	},
	"nested conditions see the state before": func(t *testing.T, r *trial) {
		res := r.commit(store.Txn{Then: []store.Op{
			store.Put("/a", []byte("1")),
			{Kind: store.OpNested, Nested: &store.Txn{
				If:   []store.Cond{store.Absent("/a")},
				Then: []store.Op{store.Put("/saw-none", nil)},
			}},
		}})
		if !res.Nested[0].Done {
			t.Fatal("a nested condition saw the outer put")
		}
	},
	"an outer condition stops all": func(t *testing.T, r *trial) {
		r.put("/fence", "x")
		res := r.commit(store.Txn{
			If:   []store.Cond{store.Absent("/fence")},
			Then: []store.Op{take("/a", "me")},
			Else: []store.Op{store.Get("/fence"), take("/b", "me")},
		})
		if res.Done || len(res.Items) != 1 || len(res.Nested) != 1 || !res.Nested[0].Done {
			t.Fatalf("result %+v, want the else branch", res)
		}
		r.holds(map[string]string{"/fence": "x", "/b": "me"})
	},
	"a ladder tries a second key": func(t *testing.T, r *trial) {
		r.put("/a", "other")
		ladder := take("/a", "me")
		ladder.Nested.Else = []store.Op{store.Get("/a"), take("/b", "me")}
		res := r.commit(store.Txn{Then: []store.Op{ladder}})
		if first := res.Nested[0]; first.Done || !first.Nested[0].Done {
			t.Fatalf("result %+v, want the second rung", res)
		}
		r.holds(map[string]string{"/a": "other", "/b": "me"})
	},
	"branches of one nested transaction may write one key": func(t *testing.T, r *trial) {
		r.commit(store.Txn{Then: []store.Op{{Kind: store.OpNested, Nested: &store.Txn{
			If:   []store.Cond{store.Absent("/none")},
			Then: []store.Op{store.Put("/k", []byte("then"))},
			Else: []store.Op{store.Put("/k", []byte("else"))},
		}}}})
		r.holds(map[string]string{"/k": "then"})
	},
	"a level has what its parent leaves": func(t *testing.T, r *trial) {
		group := func(n, each int) store.Txn {
			var txn store.Txn
			for i := range n {
				nested := store.Txn{}
				for j := range each {
					nested.Then = append(nested.Then, store.Put(fmt.Sprintf("/n/%d/%d", i, j), nil))
				}
				txn.Then = append(txn.Then, store.Op{Kind: store.OpNested, Nested: &nested})
			}
			return txn
		}
		r.commit(group(120, 8))
		if _, err := r.Commit(r.ctx, group(120, 9)); err == nil {
			t.Error("120 nested transactions of 9 operations were accepted")
		}
	},
}
