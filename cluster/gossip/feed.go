package gossip

import (
	"context"
	"sync"
)

// Batch is what happened since the last batch, one item for each subject,
// the newest.
type Batch[T any] struct {
	// Resync is set when more happened than a batch holds: something was
	// left out, so the reader starts again from a snapshot (Members).
	Resync bool
	Items  []T
}

// feed hands what memberlist's callbacks report to a slow reader. Putting
// into it never blocks, because the callbacks run under memberlist's lock;
// it holds at most limit subjects.
type feed[T any] struct {
	limit int
	out   chan Batch[T]
	wake  chan struct{} // holds one: something is pending

	mu      sync.Mutex
	at      map[string]int // subject: its place in pending
	pending Batch[T]
}

func newFeed[T any](limit int) *feed[T] {
	return &feed[T]{limit: limit, out: make(chan Batch[T]), wake: make(chan struct{}, 1), at: map[string]int{}}
}

// put notes an item; it replaces an older one of the same subject.
func (f *feed[T]) put(subject string, item T) {
	f.mu.Lock()
	if i, ok := f.at[subject]; ok {
		f.pending.Items[i] = item
	} else if len(f.pending.Items) < f.limit {
		f.at[subject] = len(f.pending.Items)
		f.pending.Items = append(f.pending.Items, item)
	} else {
		f.pending.Resync = true
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed[T]) take() Batch[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	batch := f.pending
	f.pending = Batch[T]{}
	clear(f.at)
	return batch
}

// serve hands batches to the reader until ctx ends. What comes while the
// reader is busy waits in pending, where it coalesces.
func (f *feed[T]) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		batch := f.take()
		if len(batch.Items) == 0 && !batch.Resync {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case f.out <- batch:
		}
	}
}
