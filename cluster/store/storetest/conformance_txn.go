package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

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

var txnTrials = map[string]func(*testing.T, *trial){
	"conditions": func(t *testing.T, r *trial) {
		made := r.put("/k", "1")
		changed := r.put("/k", "2")
		for _, c := range []struct {
			name string
			cond store.Cond
			want bool
		}{
			{"absent, and it is", store.Absent("/none"), true},
			{"absent, and it is not", store.Absent("/k"), false},
			{"unchanged", store.Unchanged("/k", changed), true},
			{"unchanged since an older revision", store.Unchanged("/k", made), false},
			{"unchanged at zero, and absent", store.Unchanged("/none", 0), true},
			{"unchanged at zero, and there", store.Unchanged("/k", 0), false},
			{"not before its change", store.NotBefore("/k", changed), true},
			{"not before an older revision", store.NotBefore("/k", made), true},
			{"not before a later revision", store.NotBefore("/k", changed+1), false},
			{"not before zero, and absent", store.NotBefore("/none", 0), true},
			{"not before some revision, and absent", store.NotBefore("/none", 1), false},
			{"same life", store.SameLife("/k", made), true},
			{"same life as of its change", store.SameLife("/k", changed), false},
		} {
			if got := r.commit(store.Txn{If: []store.Cond{c.cond}}).Done; got != c.want {
				t.Errorf("%s: done %v, want %v", c.name, got, c.want)
			}
		}
	},
	"one false condition chooses else": func(t *testing.T, r *trial) {
		r.put("/k", "1")
		res := r.commit(store.Txn{
			If:   []store.Cond{store.Absent("/none"), store.Absent("/k")},
			Then: []store.Op{store.Put("/then", nil)},
			Else: []store.Op{store.Put("/else", nil), store.Get("/k"), store.Get("/none")},
		})
		if res.Done || len(res.Items) != 1 || string(res.Items[0].Value) != "1" {
			t.Fatalf("result %+v, want the item of /k", res)
		}
		r.holds(map[string]string{"/k": "1", "/else": ""})
	},
	"a transaction is one revision": func(t *testing.T, r *trial) {
		before := r.put("/gone", "x")
		res := r.commit(store.Txn{Then: []store.Op{
			store.Put("/a", []byte("1")), store.Put("/b", []byte("2")), store.Delete("/gone"), store.Get("/a"),
		}})
		if res.Revision != before+1 {
			t.Fatalf("revision %d after %d", res.Revision, before)
		}
		items, _ := r.list(everything)
		want := []store.Item{
			{Key: "/a", Value: []byte("1"), Created: res.Revision, Modified: res.Revision},
			{Key: "/b", Value: []byte("2"), Created: res.Revision, Modified: res.Revision},
		}
		if diff := cmp.Diff(want, items); diff != "" {
			t.Fatalf("items (-want +got):\n%s", diff)
		}
		if it, ok := res.Item("/a"); !ok || string(it.Value) != "1" {
			t.Fatalf("a Get after the Put read %+v, %v", it, ok)
		}
	},
	"what changes nothing is no revision": func(t *testing.T, r *trial) {
		rev := r.put("/k", "1")
		for name, txn := range map[string]store.Txn{
			"empty":               {},
			"only reads":          {Then: []store.Op{store.Get("/k")}},
			"delete of an absent": {Then: []store.Op{store.Delete("/none")}},
		} {
			if got := r.commit(txn).Revision; got != rev {
				t.Errorf("%s: revision %d, want %d", name, got, rev)
			}
		}
	},
	"writing a key twice is refused": func(t *testing.T, r *trial) {
		nested := func(txn store.Txn) store.Op { return store.Op{Kind: store.OpNested, Nested: &txn} }
		k := []store.Op{store.Put("/k", nil)}
		for name, ops := range map[string][]store.Op{
			"put and put":             {store.Put("/k", nil), store.Put("/k", nil)},
			"put and delete":          {store.Put("/k", nil), store.Delete("/k")},
			"delete and nested put":   {store.Delete("/k"), nested(store.Txn{Then: k})},
			"two nested":              {nested(store.Txn{Then: k}), nested(store.Txn{Then: k})},
			"two nested, one in else": {nested(store.Txn{Then: k}), nested(store.Txn{Else: k})},
			"put and nested put":      {store.Put("/k", nil), nested(store.Txn{Then: k})},
		} {
			_, err := r.Commit(r.ctx, store.Txn{Then: append([]store.Op{store.Put("/other", nil)}, ops...)})
			if err == nil || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
		}
		r.holds(map[string]string{})
	},
	"too many operations are refused": func(t *testing.T, r *trial) {
		if _, err := r.Commit(r.ctx, store.Txn{Then: puts(maxOps + 1)}); err == nil {
			t.Error("129 operations were accepted")
		}
		r.commit(store.Txn{Then: puts(maxOps)})
	},
}

func puts(n int) []store.Op {
	var ops []store.Op
	for i := range n {
		ops = append(ops, store.Put(fmt.Sprintf("/puts/%d", i), nil))
	}
	return ops
}
