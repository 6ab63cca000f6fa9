package storetest

import (
	"context"
	"fmt"
	"iter"

	"gvlan/cluster/store"
)

// Watch implements store.KV.
func (m *Mem) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		w, err := m.openWatch(ctx, span, after)
		if err == nil && after == 0 && !yield(store.Batch{Revision: w.after}, nil) {
			return
		}
		for err == nil {
			var batch store.Batch
			var more bool
			batch, more, err = w.next(ctx)
			if err == nil && (!more || !yield(batch, nil)) {
				return
			}
		}
		if ctx.Err() == nil {
			yield(store.Batch{}, fmt.Errorf("watch %s: %w", span.From, err))
		}
	}
}

// watch is one running Watch.
type watch struct {
	m     *Mem
	span  store.Span
	after store.Revision
	life  int
	asked int
	ended <-chan struct{}
}

func (m *Mem) openWatch(ctx context.Context, span store.Span, after store.Revision) (*watch, error) {
	ended, leave, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	leave() // who reads may take their time: Down only ends the watch
	m.mu.Lock()
	defer m.mu.Unlock()
	if after == 0 {
		after = m.state.rev
	}
	return &watch{m: m, span: span, after: after, life: m.life, asked: m.asked, ended: ended}, nil
}

// next waits for the next batch; more is false when ctx ended.
func (w *watch) next(ctx context.Context) (batch store.Batch, more bool, err error) {
	for {
		batch, found, wake, err := w.poll()
		switch {
		case err != nil:
			return batch, false, err
		case found && len(batch.Events) > 0 && w.m.loses():
			continue
		case found:
			return batch, true, nil
		}
		select {
		case <-ctx.Done():
			return batch, false, nil
		case <-w.ended:
			return batch, false, store.ErrUnavailable
		case <-wake:
		}
	}
}

// poll takes what the history holds since the last batch.
func (w *watch) poll() (batch store.Batch, found bool, wake <-chan struct{}, err error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.life != w.m.life || w.after+1 < w.m.compacted || w.after > w.m.state.rev {
		return batch, false, nil, store.ErrCompacted
	}
	for _, ev := range w.m.history {
		if ev.At > w.after && w.span.Contains(ev.Item.Key) {
			batch.Events = append(batch.Events, ev)
			batch.Revision = ev.At
		}
	}
	found = len(batch.Events) > 0
	if !found && w.asked != w.m.asked {
		batch.Revision, found = w.m.state.rev, true
	}
	w.asked = w.m.asked
	w.after = w.m.state.rev
	return batch, found, w.m.wake, nil
}

// Progress makes every running watch yield an empty batch with the store's
// revision, unless it has events to yield.
func (m *Mem) Progress() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	m.news()
}
