package store

import (
	"context"
	"math/rand/v2"
	"time"
)

// How long to wait before a store that did not answer is asked again.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// backoff is a wait that doubles from firstWait to longestWait.
type backoff struct{ next time.Duration }

func newBackoff() *backoff { return &backoff{next: firstWait} }

func (b *backoff) reset() { b.next = firstWait }

// sleep waits for the next turn or for ctx.
func (b *backoff) sleep(ctx context.Context) {
	sleep(ctx, jitter(b.next))
	b.next = min(2*b.next, longestWait)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// jitter spreads a duration over its upper half, so that nodes which lost
// the store at the same moment do not return at the same moment.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
