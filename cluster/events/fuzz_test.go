package events_test

import (
	"testing"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// FuzzRecord reads what another host, or another version, may have written: it
// hides nobody else's events.
func FuzzRecord(f *testing.F) {
	good := store.Encode(store.Trail{Node: "h1", Events: []store.TrailEvent{{Kind: "given", At: 1}}, Left: 3, LeftSince: 1})
	f.Add("0123", good)
	f.Add("went-0123", good)
	f.Add("", []byte(`{"node":"","events":[{"k":"","t":-9223372036854775808,"a":"x"}]}`))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		kv := storetest.NewMem()
		txn := store.Txn{Then: []store.Op{store.Put(store.TrailKey("h9", 1), good)}}
		if key := store.TrailSpan("h1").From + name; key != store.TrailKey("h9", 1) {
			txn.Then = append(txn.Then, store.Put(key, value))
		}
		if _, err := kv.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		for _, filter := range []events.Filter{{}, {Limit: 1 << 20}, {Kinds: []events.Kind{events.Given}}} {
			all, err := events.Read(t.Context(), kv, filter)
			if err != nil || len(all) == 0 {
				t.Errorf("%d events, %v", len(all), err)
			}
			events.Holdings(all)
		}
	})
}
