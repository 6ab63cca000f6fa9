package driver

import "sync"

// seen is what the engine's events told.
type seen struct {
	mu       sync.Mutex
	fresh    bool  // labels must be read again
	pruned   int64 // unix milliseconds of the last network prune
	deleted  int64 // unix milliseconds of the last deletion of any network
	away     int   // how often the engine went away
	answered bool  // the engine answers, as far as events tell
}

func (s *seen) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = false
	s.away++
}

func (s *seen) back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered, s.fresh = true, true
}

func (s *seen) prune(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pruned = at
}

func (s *seen) destroy(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted = at
}

// times are the last prune and the last deletion.
func (s *seen) times() (pruned, deleted int64) {
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

// absences counts how often the engine went away: an observation that spans
// one proves nothing.
func (s *seen) absences() (count int, answers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away, s.answered
}
