package storetest_test

import (
	"context"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

func TestMem(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Subject { return storetest.NewMem() })
}

func TestWire(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Subject {
		mem := storetest.NewMem()
		return wired{storetest.NewWire(mem), mem}
	})
}

// wired is a Wire that can be compacted at its far end.
type wired struct {
	*storetest.Wire
	mem *storetest.Mem
}

func (w wired) Compact(ctx context.Context, rev store.Revision) error { return w.mem.Compact(ctx, rev) }
