// Package eventstest has a Teller for tests.
package eventstest

import (
	"slices"
	"sync"

	"gvlan/cluster/events"
)

// Heard is an events.Teller that keeps what it is told.
type Heard struct {
	mu  sync.Mutex
	all []events.Event
}

// Tell implements events.Teller.
func (h *Heard) Tell(e events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

// Of returns what was told of some kinds, in order; everything when none is
// named.
func (h *Heard) Of(kinds ...events.Kind) []events.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.all), func(e events.Event) bool {
		return len(kinds) > 0 && !slices.Contains(kinds, e.Kind)
	})
}
