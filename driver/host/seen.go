package host

import (
	"sync"
	"time"

	"gvlan/driver/engine"
)

// Seen is what the engine's events told.
type Seen struct {
	mu        sync.Mutex
	fresh     bool      // labels must be read again
	pruned    time.Time // of the last prune that deleted a network
	deleted   time.Time // of the last deletion of any network
	destroyed time.Time // of that deletion, by the engine's clock
	away      int       // how often the engine went away
	answered  bool      // the engine answers, as far as events tell
}

// Heard takes an event of the engine.
func (s *Seen) Heard(ev engine.Event, now time.Time) {
	switch {
	case ev.Kind == engine.KindStream && ev.Action == engine.ActionLost:
		s.lost()
	case ev.Kind == engine.KindStream, ev.Kind == engine.KindDaemon:
		s.Back()
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionPrune:
		s.prune(ev.Time, now)
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionDestroy:
		s.destroy(ev.Time, now)
	}
}

func (s *Seen) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = false
	s.away++
}

// Back has the engine answer, and its labels read again.
func (s *Seen) Back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered, s.fresh = true, true
}

// pruneGap is how far a prune's own event may be behind the last deletion it
// made: both engines tell the two in the same millisecond. A prune that
// deleted nothing is told too and must not excuse an rm before it.
const pruneGap = 500 * time.Millisecond

func (s *Seen) prune(event, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if event.Sub(s.destroyed) <= pruneGap {
		s.pruned = now
	}
}

func (s *Seen) destroy(event, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted, s.destroyed = now, event
}

// Times are the last prune and the last deletion.
func (s *Seen) Times() (pruned, deleted time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pruned, s.deleted
}

// WantsLabels reports, once, whether the labels may have changed.
func (s *Seen) WantsLabels() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.fresh
	s.fresh = false
	return was
}

// Absences counts how often the engine went away: an observation that spans
// one proves nothing.
func (s *Seen) Absences() (count int, answers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away, s.answered
}
