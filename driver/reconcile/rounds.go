package reconcile

import (
	"errors"
	"sync"

	"gvlan/driver/engine"
)

// Rounds counts the rounds since the start by how they ended, and what they
// freed or gave up.
type Rounds struct {
	Done       uint64
	Unanswered uint64 // the engine did not answer: nothing was found out
	Failed     uint64 // in a part

	Endpoints uint64 // that the engine forgot
	Addresses uint64 // endpoints that only the allocator knew
	Records   uint64 // of endpoints that nothing here has
	Unused    uint64 // what was asked for and never confirmed
}

// rounds is Rounds under a lock.
type rounds struct {
	mu  sync.Mutex
	all Rounds
}

func (r *rounds) count(change func(*Rounds)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.all)
}

// ended counts a round.
func (r *rounds) ended(err error) {
	r.count(func(all *Rounds) {
		switch {
		case err == nil:
			all.Done++
		case errors.Is(err, engine.ErrUnavailable):
			all.Unanswered++
		default:
			all.Failed++
		}
	})
}

// Rounds tells of the rounds since the start.
func (rc *Reconciler) Rounds() Rounds {
	rc.rounds.mu.Lock()
	defer rc.rounds.mu.Unlock()
	return rc.rounds.all
}
