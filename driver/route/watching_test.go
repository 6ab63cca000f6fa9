package route_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"gvlan/driver/route"
)

// TestWatching: it watches once while it is wanted, tells why a watch ended by itself,
// and begins that one anew.
func TestWatching(t *testing.T) {
	var running, begun atomic.Int32
	fail := make(chan error)
	changed := make(chan struct{}, 9)
	w := route.NewWatching(func(ctx context.Context, changed func()) error {
		running.Add(1)
		defer running.Add(-1)
		begun.Add(1)
		changed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-fail:
			return err
		}
	}, func() { changed <- struct{}{} })
	w.Close()
	w.Want(t.Context(), false)
	w.Want(t.Context(), true)
	<-changed
	w.Want(t.Context(), true)
	if begun.Load() != 1 {
		t.Errorf("%d watches, want one", begun.Load())
	}
	w.Want(t.Context(), false)
	if running.Load() != 0 || w.Ended() != nil {
		t.Error("a watch runs on that nobody wants, or tells of its end")
	}
	w.Want(t.Context(), true)
	<-changed
	broken := errors.New("broken")
	fail <- broken
	if err := <-w.Ended(); !errors.Is(err, broken) {
		t.Errorf("Ended = %v, want %v", err, broken)
	}
	for begun.Load() < 3 { // it may be about to return still
		w.Want(t.Context(), true)
	}
	<-changed
	ctx, cancel := context.WithCancel(t.Context())
	w.Want(t.Context(), false)
	w.Want(ctx, true)
	<-changed
	cancel()
	if err := <-w.Ended(); !errors.Is(err, context.Canceled) {
		t.Errorf("Ended = %v, want %v", err, context.Canceled)
	}
	w.Close()
	if running.Load() != 0 {
		t.Error("a watch runs on after Close")
	}
}
