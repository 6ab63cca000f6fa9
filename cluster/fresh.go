package cluster

import (
	"sync"

	"gvlan/cluster/store"
)

// freshLimit is how many subjects a generation of memory holds.
const freshLimit = 32 << 10

// freshness remembers the highest revision heard of each subject, so that a hint
// is handed on once and passed on only while it is news. It forgets in
// generations: between freshLimit and twice that many subjects are known.
// Forgetting is harmless, a hint heard twice is only read twice.
type freshness struct {
	mu       sync.Mutex
	young    map[subject]store.Revision
	old      map[subject]store.Revision
	capacity int
}

func newFreshness(capacity int) *freshness {
	return &freshness{young: map[subject]store.Revision{}, capacity: capacity}
}

// news notes a hint and tells whether it says more than what was heard.
func (f *freshness) news(h Hint) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	about := h.about()
	if f.highest(about) >= h.Rev {
		return false
	}
	if len(f.young) >= f.capacity {
		f.young, f.old = map[subject]store.Revision{}, f.young
	}
	f.young[about] = h.Rev
	return true
}

func (f *freshness) highest(about subject) store.Revision {
	if rev, ok := f.young[about]; ok {
		return rev
	}
	return f.old[about]
}
