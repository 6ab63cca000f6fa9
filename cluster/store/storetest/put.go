package storetest

import (
	"context"

	"gvlan/cluster/store"
)

// Put writes a key, by a transaction that compares nothing.
func Put(ctx context.Context, kv store.KV, key string) error {
	_, err := kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put(key, []byte("x"))}})
	return err
}
