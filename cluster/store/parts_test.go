package store_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"gvlan/cluster/store"
)

var discard = slog.New(slog.DiscardHandler)

// past is a Past in memory, and the epoch in which the node was last back from
// an eviction.
type past struct {
	mu       sync.Mutex
	known    store.Memory
	returned int64
}

func (p *past) LoadPast() (store.Memory, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known, nil
}

func (p *past) SavePast(known store.Memory) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = known
	return nil
}

func put(ctx context.Context, kv store.KV, key string) error {
	_, err := kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put(key, []byte("x"))}})
	return err
}

func live(t *testing.T, kv store.KV) (store.Live, bool) {
	t.Helper()
	it, err := kv.Get(t.Context(), store.LiveKey("a"))
	if errors.Is(err, store.ErrNotFound) {
		return store.Live{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	rec, err := store.Decode[store.Live](it)
	if err != nil {
		t.Fatal(err)
	}
	return rec, true
}
