package driver

import (
	"log/slog"
	"maps"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Bounds of the wait before a failed replica is tried again.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// matter is what a failure is filed under.
type matter struct {
	what string
	of   string // a definition's uuid or a network's engine id; "" when it is of neither
}

// replicaOf is the making of a definition's network here.
func replicaOf(def store.Network) matter { return matter{"replica", def.UUID} }

// nameTaken is the name's being somebody else's here, which is over the moment
// it is free, whatever wait a failed create has earned.
func nameTaken(def store.Network) matter { return matter{"name", def.UUID} }

// linksOf is what the network hangs from here.
func linksOf(n hostNetwork) matter { return matter{"links", n.ID} }

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
	all map[matter]trouble
	now func() time.Time
}

// tell notes a failure; it is logged when it is new.
func (t *troubles) tell(log *slog.Logger, about matter, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.all[about]
	next := trouble{Why: err.Error(), wait: min(max(2*had.wait, firstRetry), lastRetry)}
	next.due = t.now().Add(next.wait)
	t.all[about] = next
	if had.Why != next.Why {
		log.Error("will be tried again", "what", about.what, "error", err)
	}
}

// over forgets a failure.
func (t *troubles) over(about matter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, about)
}

// only forgets the failures of definitions and networks that are no more.
func (t *troubles) only(known func(id string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.all, func(about matter, _ trouble) bool { return about.of != "" && !known(about.of) })
}

// waiting tells whether a failure is not due to be tried again yet.
func (t *troubles) waiting(about matter) bool {
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
func (t *troubles) list() map[matter]trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.all)
}
