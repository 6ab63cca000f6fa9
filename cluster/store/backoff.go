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

// Backoff is a wait before something is tried again: it doubles from 50 ms to
// 2 s, and each is spread over its upper half. The zero value has not waited yet.
type Backoff struct{ next time.Duration }

// Reset begins anew: what was tried went well.
func (b *Backoff) Reset() { b.next = 0 }

// Sleep waits for the next turn or for ctx.
func (b *Backoff) Sleep(ctx context.Context) {
	b.next = max(b.next, firstWait)
	Sleep(ctx, jitter(b.next))
	b.next = min(2*b.next, longestWait)
}

// Sleep waits for d or for the end of ctx, and reports whether d passed.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// jitter spreads a duration over its upper half, so that nodes which lost
// the store at the same moment do not return at the same moment.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
