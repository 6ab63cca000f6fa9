package members_test

import (
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/members"
	"gvlan/cluster/store/storetest"
)

// One member is left of those that a copy of the store knows, with its new place.
func TestRestart(t *testing.T) {
	mem := storetest.NewMem()
	for _, node := range []string{"a", "b", "c"} {
		record := store.Member{Node: node, ID: "1" + node}
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.MemberKey(node), store.Encode(record))}}); err != nil {
			t.Fatal(err)
		}
	}
	want := store.Member{Node: "b", ID: "2b"}
	if err := members.Restart(t.Context(), mem, want); err != nil {
		t.Fatal(err)
	}
	if all, err := members.Records(t.Context(), mem); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("%+v, %v; want %+v alone", all, err, want)
	}
}
