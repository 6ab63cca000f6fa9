package host

import "time"

// SecondLook is how far apart the two observations are of something that is
// freed because it seems dead; none of them is made while the engine was away in
// between.
const SecondLook = 30 * time.Second

// NewSuspects has seen nothing.
func NewSuspects() *Suspects {
	return &Suspects{First: map[any]Observation{}, Seen: map[any]bool{}}
}

// Observation is the first sight of something that seems dead.
type Observation struct {
	at   time.Time
	away int // how often the engine had gone away by then
}

// Suspects are the things seen dead once.
type Suspects struct {
	First map[any]Observation
	Seen  map[any]bool // in this round
}

// Proven reports whether a thing was seen dead before, long enough ago and
// without the engine going away since; else it is remembered.
func (s *Suspects) Proven(thing any, now time.Time, away int) bool {
	s.Seen[thing] = true
	had, ok := s.First[thing]
	if !ok || had.away != away {
		s.First[thing] = Observation{at: now, away: away}
		return false
	}
	return now.Sub(had.at) >= SecondLook
}

// Round forgets what was not seen dead again.
func (s *Suspects) Round() {
	for thing := range s.First {
		if !s.Seen[thing] {
			delete(s.First, thing)
		}
	}
	clear(s.Seen)
}
