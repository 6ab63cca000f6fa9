package cluster

import "sync"

// freshLimit is how many subjects a generation of memory holds.
const freshLimit = 32 << 10

// freshness remembers the highest rank heard of each subject, so that a hint
// is handed on once and passed on only while it is news. It forgets in
// generations: between freshLimit and twice that many subjects are known.
// Forgetting is harmless, a hint heard twice is only read twice.
type freshness struct {
	mu       sync.Mutex
	young    map[subject]uint64
	old      map[subject]uint64
	capacity int
}

func newFreshness(capacity int) *freshness {
	return &freshness{young: map[subject]uint64{}, capacity: capacity}
}

// news notes a hint and tells whether it says more than what was heard.
func (f *freshness) news(h Hint) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	about, rank := h.about(), h.rank()
	if f.highest(about) >= rank {
		return false
	}
	if len(f.young) >= f.capacity {
		f.young, f.old = map[subject]uint64{}, f.young
	}
	f.young[about] = rank
	return true
}

func (f *freshness) highest(about subject) uint64 {
	if rank, ok := f.young[about]; ok {
		return rank
	}
	return f.old[about]
}
