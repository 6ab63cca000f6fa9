package host

import "time"

// SecondLook is how far apart the two observations are of something that is
// freed because it seems dead; none of them is made while the engine was away in
// between.
const SecondLook = 30 * time.Second

// NewSuspects has seen nothing.
func NewSuspects() *Suspects {
	return &Suspects{first: map[any]sighting{}, seen: map[any]bool{}}
}

// sighting is the first look at something that seems dead.
type sighting struct {
	at   time.Time
	away int // how often the engine had gone away by then
}

// Suspects are the things seen dead once.
type Suspects struct {
	first map[any]sighting
	seen  map[any]bool // in this round
}

// Proven reports whether a thing was seen dead before, long enough ago and
// without the engine going away since; else it is remembered.
func (s *Suspects) Proven(thing any, now time.Time, away int) bool {
	s.seen[thing] = true
	had, ok := s.first[thing]
	if !ok || had.away != away {
		s.first[thing] = sighting{at: now, away: away}
		return false
	}
	return now.Sub(had.at) >= SecondLook
}

// Round forgets what was not seen dead again.
func (s *Suspects) Round() {
	for thing := range s.first {
		if !s.seen[thing] {
			delete(s.first, thing)
		}
	}
	clear(s.seen)
}
