package store_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

func TestTableMirrorsASpan(t *testing.T) {
	mem := storetest.NewMem()
	commit := func(ops ...store.Op) store.Revision {
		t.Helper()
		res, err := mem.Commit(t.Context(), store.Txn{Then: ops})
		if err != nil {
			t.Fatal(err)
		}
		return res.Revision
	}
	node := func(name, version string) store.Op {
		return store.Put(store.NodeKey(name), store.Encode(store.Node{Node: name, Version: version}))
	}
	made := commit(node("a", "1"), store.Put(store.NodeKey("broken"), []byte("{")))

	var unread, told int
	table := store.NewTable[store.Node](store.NodesSpan(), func(error) { unread++ })
	heard := make(chan store.Change)
	table.Tell(func(store.Change) { told++ })
	table.Tell(func(c store.Change) { heard <- c })
	if rows, current := table.Rows(); len(rows) != 0 || current || table.Listed() {
		t.Fatalf("before the first list it holds %v, current: %v", rows, current)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- table.Run(ctx, mem) }()

	if c := <-heard; !c.Reset || c.Revision != made || !table.Listed() {
		t.Fatalf("the first change is %+v, listed: %v", c, table.Listed())
	}
	want := map[string]store.Row[store.Node]{
		store.NodeKey("a"): {Key: store.NodeKey("a"), Record: store.Node{Node: "a", Version: "1"}, Created: made, Modified: made},
	}
	rows, current := table.Rows()
	if diff := cmp.Diff(want, rows); diff != "" || !current || unread != 1 {
		t.Errorf("current: %v, %d unread (-want +got):\n%s", current, unread, diff)
	}

	changed := table.Changed()
	written := commit(node("a", "2"), node("b", "1"))
	table.Await(written)
	<-heard
	<-changed
	if row, found := table.Row(store.NodeKey("a")); !found || row.Record.Version != "2" || row.Created != made || row.Modified != written {
		t.Errorf("a is %+v, %v", row, found)
	}
	table.Await(written + 1)
	if _, current := table.Rows(); current || !table.Listed() {
		t.Error("a table that lacks what was written is current")
	}
	commit(store.Delete(store.NodeKey("b")), store.Put(store.NodeKey("a"), []byte("{")))
	<-heard
	rows, current = table.Rows()
	if row := rows[store.NodeKey("a")]; len(rows) != 1 || row.Record.Version != "2" || !current || unread != 2 {
		t.Errorf("it holds %+v, current: %v, %d unread", rows, current, unread)
	}
	cancel()
	if err := <-ended; err != nil || told != 3 {
		t.Errorf("ended with %v after %d changes", err, told)
	}
}

// TestTableListsWhatItCannotRead: a record that cannot be read is there, and
// must not look deleted in a new listing either.
func TestTableListsWhatItCannotRead(t *testing.T) {
	item := func(name, value string, created store.Revision) store.Item {
		return store.Item{Key: store.NodeKey(name), Value: []byte(value), Created: created}
	}
	table := store.NewTable[store.Node](store.NodesSpan(), func(error) {})
	table.Apply(store.Change{Reset: true, Revision: 9, Items: []store.Item{
		item("damaged", `{"version":"1"}`, 3), item("deleted", `{"version":"1"}`, 4), item("anew", `{"version":"1"}`, 5),
	}})
	table.Apply(store.Change{Reset: true, Revision: 12, Items: []store.Item{
		item("damaged", "{", 3), item("anew", "{", 11), item("unknown", "{", 12),
	}})
	rows, _ := table.Rows()
	if damaged := rows[store.NodeKey("damaged")]; len(rows) != 1 || damaged.Record.Version != "1" {
		t.Errorf("it holds %+v, want what was readable of the key that was not deleted", rows)
	}
}

// An older store that takes the place of the one that was written to cannot
// show what was awaited.
func TestTableOfAnOlderStoreIsCurrent(t *testing.T) {
	table := store.NewTable[store.Node](store.NodesSpan(), func(error) {})
	table.Apply(store.Change{Reset: true, Revision: 9})
	table.Await(12)
	for _, c := range []struct {
		at   store.Revision
		want bool
	}{{10, false}, {4, true}, {5, true}} {
		table.Apply(store.Change{Reset: true, Revision: c.at})
		if _, current := table.Rows(); current != c.want {
			t.Errorf("at revision %d it is current: %v, want %v", c.at, current, c.want)
		}
	}
}

// TestTableAwaitsOwnWrites: a mirror lags, and a definition this host just
// wrote must not be missing from a table that says it is current.
func TestTableAwaitsOwnWrites(t *testing.T) {
	tests := []struct {
		name    string
		changes []store.Change // after revision 12 was written
		current bool
	}{
		{"nothing seen since", nil, false},
		{"an older change", []store.Change{{Revision: 11}}, false},
		{"a list from before the write", []store.Change{{Reset: true, Revision: 11}}, false},
		{"the write itself", []store.Change{{Revision: 12}}, true},
		{"a later list", []store.Change{{Reset: true, Revision: 14}}, true},
		{"a store that went back", []store.Change{{Reset: true, Revision: 3}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := store.NewTable[store.Network](store.NetworksSpan(), func(error) {})
			table.Apply(store.Change{Reset: true, Revision: 10})
			table.Await(12)
			for _, c := range tt.changes {
				table.Apply(c)
			}
			if _, current := table.Rows(); current != tt.current {
				t.Errorf("current: got %t, want %t", current, tt.current)
			}
		})
	}
}
