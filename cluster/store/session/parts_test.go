package session_test

import (
	"errors"
	"log/slog"
	"testing"

	"gvlan/cluster/store"
)

var discard = slog.New(slog.DiscardHandler)

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
