package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"gvlan/cluster/store"
)

// Wire is one client's connection to a store. Its Faults hit that client
// only: Down on one Wire is a partitioned node.
type Wire struct {
	Faults
	far store.Backend
}

// NewWire connects a client to a store.
func NewWire(far store.Backend) *Wire { return &Wire{far: far} }

// Get implements store.KV.
func (w *Wire) Get(ctx context.Context, key string) (store.Item, error) {
	_, leave, err := w.begin(ctx)
	if err != nil {
		return store.Item{}, fmt.Errorf("get %s: %w", key, err)
	}
	defer leave()
	return w.far.Get(ctx, key)
}

// List implements store.KV.
func (w *Wire) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	_, leave, err := w.begin(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", span.From, err)
	}
	defer leave()
	return w.far.List(ctx, span)
}

// Scan implements store.KV. Each page is a request of its own.
func (w *Wire) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	ask := func() error {
		_, leave, err := w.begin(ctx)
		if err != nil {
			return fmt.Errorf("scan %s: %w", span.From, err)
		}
		leave() // who reads may take their time
		return nil
	}
	if err := ask(); err != nil {
		return 0, err
	}
	first := true
	return w.far.Scan(ctx, span, parts, func(items []store.Item) error {
		if !first {
			if err := ask(); err != nil {
				return err
			}
		}
		first = false
		return page(items)
	})
}

// Commit implements store.KV.
func (w *Wire) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	_, leave, err := w.begin(ctx)
	if err == nil {
		defer leave()
		err = w.lost(&w.requests)
	}
	if err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	res, err := w.far.Commit(ctx, txn)
	if err != nil {
		return res, err
	}
	if err := w.reply(); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	return res, nil
}

// Watch implements store.KV.
func (w *Wire) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		ended, leave, err := w.begin(ctx)
		if err != nil {
			if ctx.Err() == nil {
				yield(store.Batch{}, fmt.Errorf("watch %s: %w", span.From, err))
			}
			return
		}
		leave() // who reads may take their time: Down only ends the watch
		near, stop := cutOff(ctx, ended)
		defer stop()
		for batch, err := range w.far.Watch(near, span, after) {
			if err == nil && len(batch.Events) > 0 && w.loses() {
				continue
			}
			if !yield(batch, err) || err != nil {
				return
			}
		}
		if ctx.Err() == nil {
			yield(store.Batch{}, fmt.Errorf("watch %s: %w", span.From, store.ErrUnavailable))
		}
	}
}

// Grant implements store.Leaser.
func (w *Wire) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	_, leave, err := w.begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	defer leave()
	return w.far.Grant(ctx, ttl)
}

// KeepAlive implements store.Leaser.
func (w *Wire) KeepAlive(ctx context.Context, id store.LeaseID, renewed func(store.Revision)) error {
	ended, leave, err := w.begin(ctx)
	if err != nil {
		return fmt.Errorf("keep lease %x alive: %w", int64(id), err)
	}
	defer leave()
	near, stop := cutOff(ctx, ended)
	defer stop()
	err = w.far.KeepAlive(near, id, renewed)
	if err == nil && ctx.Err() == nil {
		err = fmt.Errorf("keep lease %x alive: %w", int64(id), store.ErrUnavailable)
	}
	return err
}

// Revoke implements store.Leaser.
func (w *Wire) Revoke(ctx context.Context, id store.LeaseID) error {
	_, leave, err := w.begin(ctx)
	if err != nil {
		return fmt.Errorf("revoke lease %x: %w", int64(id), err)
	}
	defer leave()
	return w.far.Revoke(ctx, id)
}

var errCut = errors.New("the wire was cut")

// cutOff derives a context that ends when ended is closed.
func cutOff(ctx context.Context, ended <-chan struct{}) (context.Context, func()) {
	near, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-ended:
			cancel(errCut)
		case <-near.Done():
		}
	}()
	return near, func() { cancel(nil) }
}
