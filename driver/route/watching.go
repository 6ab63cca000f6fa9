package route

import "context"

// Watching follows a Kernel while somebody wants to, since on a host that has nothing
// to do with it that would cost for nothing. Its methods are for one goroutine.
type Watching struct {
	watch   func(ctx context.Context, changed func()) error
	changed func()
	stop    context.CancelFunc
	ended   chan error
	over    chan struct{} // closed when the watch has returned
}

// NewWatching does not watch yet. It will by a Kernel's Watch, which calls changed.
func NewWatching(watch func(ctx context.Context, changed func()) error, changed func()) *Watching {
	return &Watching{watch: watch, changed: changed}
}

// Want begins to watch, until ctx ends or the watch fails, or ends that. A watch that
// failed begins anew.
func (w *Watching) Want(ctx context.Context, wanted bool) {
	if w.over != nil {
		select {
		case <-w.over:
			w.Close()
		default:
		}
	}
	switch {
	case !wanted:
		w.Close()
	case w.over == nil:
		ctx, stop := context.WithCancel(ctx)
		ended, over := make(chan error, 1), make(chan struct{})
		w.stop, w.ended, w.over = stop, ended, over
		go func() {
			defer close(over)
			ended <- w.watch(ctx, w.changed)
		}()
	}
}

// Ended tells, once, why the watch that Want began returned; after a Want that ended
// it, or before any, it tells nothing.
func (w *Watching) Ended() <-chan error { return w.ended }

// Close ends the watch, if there is one, and returns when it has.
func (w *Watching) Close() {
	if w.over == nil {
		return
	}
	w.stop()
	<-w.over
	w.stop, w.ended, w.over = nil, nil, nil
}
