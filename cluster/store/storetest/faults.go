package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Faults makes a store fail. The zero value does not. It is part of Mem and
// of Wire; its methods may be called while the store is in use.
type Faults struct {
	mu       sync.Mutex
	state    reach
	back     chan struct{}  // closed by Up, while hung
	end      chan struct{}  // closed when running watches and keepalives end
	running  sync.WaitGroup // what Down waits for
	slow     time.Duration
	requests int // commits to lose before they happen
	replies  int // commits to lose after they happened
	events   int // batches no watch will see
}

type reach uint8

const (
	reachable reach = iota
	refusing
	hanging
)

// Down makes every call fail at once with ErrUnavailable and ends running
// watches and keepalives. The keepalives are over when it returns, and a Wire's
// requests that were under way are answered.
func (f *Faults) Down() { f.fail(refusing) }

// Hang makes every call wait for its context or for Up.
func (f *Faults) Hang() { f.fail(hanging) }

func (f *Faults) fail(how reach) {
	f.mu.Lock()
	f.state = how
	if f.back == nil {
		f.back = make(chan struct{})
	}
	f.endRunning()
	f.mu.Unlock()
	f.running.Wait()
}

// Up ends Down and Hang.
func (f *Faults) Up() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = reachable
	if f.back != nil {
		close(f.back)
		f.back = nil
	}
}

// Disconnect ends running watches and keepalives with ErrUnavailable; the
// next calls succeed.
func (f *Faults) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endRunning()
}

// DropRequests makes the next n commits fail without effect.
func (f *Faults) DropRequests(n int) { f.set(func() { f.requests = n }) }

// DropReplies makes the next n commits happen and fail nonetheless, as when
// the connection breaks before the answer.
func (f *Faults) DropReplies(n int) { f.set(func() { f.replies = n }) }

// LoseEvents makes watches skip the next n batches of events in silence.
func (f *Faults) LoseEvents(n int) { f.set(func() { f.events = n }) }

// Slow makes every call take d longer.
func (f *Faults) Slow(d time.Duration) { f.set(func() { f.slow = d }) }

func (f *Faults) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// enter is the way every call begins.
func (f *Faults) enter(ctx context.Context) error {
	f.mu.Lock()
	state, back, slow := f.state, f.back, f.slow
	f.mu.Unlock()
	if state == refusing {
		return store.ErrUnavailable
	}
	if state == hanging {
		select {
		case <-ctx.Done():
		case <-back:
		}
	}
	if slow > 0 {
		pause(ctx, slow)
	}
	if ctx.Err() != nil {
		return store.ErrUnavailable
	}
	return nil
}

// enterCommit is enter for commits, which can be lost.
func (f *Faults) enterCommit(ctx context.Context) error {
	if err := f.enter(ctx); err != nil {
		return err
	}
	return f.lost(&f.requests)
}

// reply loses the answer of a commit that happened.
func (f *Faults) reply() error { return f.lost(&f.replies) }

func (f *Faults) lost(count *int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *count == 0 {
		return nil
	}
	*count--
	return store.ErrUnavailable
}

// loses reports whether a batch is to be lost.
func (f *Faults) loses() bool { return f.lost(&f.events) != nil }

// begin is enter for what Down waits for. What goes on for long ends when ended
// is closed.
func (f *Faults) begin(ctx context.Context) (ended <-chan struct{}, leave func(), err error) {
	if err := f.enter(ctx); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != reachable {
		return nil, nil, store.ErrUnavailable
	}
	f.running.Add(1)
	return f.endLocked(), f.running.Done, nil
}

// endLocked is closed when what runs now must end.
func (f *Faults) endLocked() <-chan struct{} {
	if f.end == nil {
		f.end = make(chan struct{})
	}
	return f.end
}

func (f *Faults) endRunning() {
	if f.end != nil {
		close(f.end)
		f.end = nil
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Racing is a store in which somebody else changes a key just before a commit
// arrives: the first, unless some are spared.
type Racing struct {
	*Mem
	Op    store.Op // what the other does
	Spare int      // commits that nothing happens before
}

// Commit implements store.KV.
func (r *Racing) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	r.Spare--
	if r.Spare == -1 {
		if _, err := r.Mem.Commit(ctx, store.Txn{Then: []store.Op{r.Op}}); err != nil {
			return store.Result{}, fmt.Errorf("race: %w", err)
		}
	}
	return r.Mem.Commit(ctx, txn)
}
