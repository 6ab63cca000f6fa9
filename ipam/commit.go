package ipam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// firstPause and longestPause stand between two tries of one transaction.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// commit runs one transaction to a definite outcome. While the reply is
// missing it sends the same transaction again; every transaction of this
// package can tell from what it finds that it has happened before. When ctx
// ends first the error wraps store.ErrUnavailable and nobody knows.
func (a *Allocator) commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		res, err := a.KV.Commit(ctx, txn)
		err = a.heard(ctx, err)
		if !errors.Is(err, store.ErrUnavailable) {
			return res, err
		}
		if !store.Sleep(ctx, pause) {
			return res, err
		}
	}
}

// read gets one key; a zero item is an absent one.
func (a *Allocator) read(ctx context.Context, key string) (store.Item, error) {
	it, err := a.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		_ = a.heard(ctx, nil)
		return store.Item{}, nil
	}
	return it, a.heard(ctx, err)
}

// list reads a span.
func (a *Allocator) list(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	items, rev, err := a.KV.List(ctx, span)
	return items, rev, a.heard(ctx, err)
}

// heard notes whether the store answers, and makes a call that ended with
// its context what it is: no answer.
func (a *Allocator) heard(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	a.away.Store(errors.Is(err, store.ErrUnavailable))
	if err == nil {
		now := a.Now()
		a.contact.Store(&now)
	}
	return err
}
