package sim

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Sample collects durations from scenarios that run side by side.
type Sample struct {
	mu     sync.Mutex
	values []time.Duration
}

// Add notes one.
func (s *Sample) Add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = append(s.values, d)
}

// At returns the value that a share of the sample (0 to 1) does not exceed;
// 1 is the maximum. An empty sample has none: it returns -1.
func (s *Sample) At(share float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.values) == 0 {
		return -1
	}
	slices.Sort(s.values)
	i := int(share*float64(len(s.values))+0.9999999) - 1
	return s.values[min(max(i, 0), len(s.values)-1)]
}

// Bench prints a figure for `make test` to show.
func Bench(name string, n int, value any) {
	if d, ok := value.(time.Duration); ok {
		value = fmt.Sprintf("%.3f", d.Seconds())
		name += "_seconds"
	}
	fmt.Printf("BENCH sim_%s_n%d %v\n", name, n, value)
}
