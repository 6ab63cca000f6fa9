package ipam

import (
	"context"
	"time"
)

// withoutStore is what a call needs when the store did not come: asking the LAN
// whether an address may be given again takes most of it.
const withoutStore = 2 * time.Second

// awaitOpening waits for a store that is being opened: for about a second
// after an agent's start it could not be answered otherwise than no, which
// Docker takes for its last word. It waits for most of what a call has, and
// for a quarter of that once it waited in vain: a host that starts without
// its store has many containers to start. What to say is the caller's.
func (a *Allocator) awaitOpening(ctx context.Context) {
	select {
	case <-a.Self.Opened():
		return
	default:
	}
	limit := a.Timeout
	if ends, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(ends)-withoutStore)
	}
	if a.waited.Load() {
		limit /= 4
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-a.Self.Opened():
	case <-waiting.Done():
		a.waited.Store(true)
	}
}
