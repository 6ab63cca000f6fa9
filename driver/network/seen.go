package network

import (
	"sync"
	"time"
)

// seen is what the engine's events told.
type seen struct {
	mu        sync.Mutex
	fresh     bool      // labels must be read again
	pruned    time.Time // of the last prune that deleted a network
	deleted   time.Time // of the last deletion of any network
	destroyed time.Time // of that deletion, by the engine's clock
	away      int       // how often the engine went away
	answered  bool      // the engine answers, as far as events tell
}

func (s *seen) Lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = false
	s.away++
}

func (s *seen) Back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered, s.fresh = true, true
}

// pruneGap is how far a prune's own event may be behind the last deletion it
// made: both engines tell the two in the same millisecond. A prune that
// deleted nothing is told too and must not excuse an rm before it.
const pruneGap = 500 * time.Millisecond

func (s *seen) Prune(event, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if event.Sub(s.destroyed) <= pruneGap {
		s.pruned = now
	}
}

func (s *seen) Destroy(event, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted, s.destroyed = now, event
}

// Times are the last prune and the last deletion.
func (s *seen) Times() (pruned, deleted time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pruned, s.deleted
}

// wantsLabels tells, once, that the labels may have changed.
func (s *seen) wantsLabels() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.fresh
	s.fresh = false
	return was
}

// Absences counts how often the engine went away: an observation that spans
// one proves nothing.
func (s *seen) Absences() (count int, answers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away, s.answered
}
