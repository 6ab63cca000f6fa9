package driver

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Bounds of the wait before a failed replica is tried again.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// trouble is one thing that keeps failing.
type trouble struct {
	Why  string
	wait time.Duration
	due  time.Time
}

// troubles remembers what fails, so that it is logged once and tried again
// with growing patience.
type troubles struct {
	mu  sync.Mutex
	all map[string]trouble
	now func() time.Time
}

// tell notes a failure; it is logged when it is new.
func (t *troubles) tell(log *slog.Logger, about string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.all[about]
	next := trouble{Why: err.Error(), wait: min(max(2*had.wait, firstRetry), lastRetry)}
	next.due = t.now().Add(next.wait)
	t.all[about] = next
	if had.Why != next.Why {
		log.Error("will be tried again", "what", about, "error", err)
	}
}

// over forgets a failure.
func (t *troubles) over(about string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, about)
}

// waiting tells whether a failure is not due to be tried again yet.
func (t *troubles) waiting(about string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	had, ok := t.all[about]
	return ok && t.now().Before(had.due)
}

// any tells whether something fails.
func (t *troubles) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all) > 0
}

// list copies what fails, for people.
func (t *troubles) list() map[string]trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.all)
}
