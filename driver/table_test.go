package driver

import (
	"log/slog"
	"testing"

	"gvlan/cluster/store"
)

// TestTableAwaitsOwnWrites: a mirror lags, and a definition this host just
// wrote must not be missing from a table that says it is ready.
func TestTableAwaitsOwnWrites(t *testing.T) {
	newTable := func() *table[store.Network] {
		tab := &table[store.Network]{log: slog.New(slog.DiscardHandler)}
		tab.apply(store.Change{Reset: true, Revision: 10})
		return tab
	}
	tests := []struct {
		name    string
		changes []store.Change // after revision 12 was written
		ready   bool
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
			tab := newTable()
			tab.awaits(12)
			for _, c := range tt.changes {
				tab.apply(c)
			}
			if _, ready := tab.all(); ready != tt.ready {
				t.Errorf("ready: got %t, want %t", ready, tt.ready)
			}
		})
	}
}
