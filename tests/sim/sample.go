package sim

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Sample collects figures from scenarios that run side by side.
type Sample struct {
	mu     sync.Mutex
	values []float64
}

// Add notes a figure.
func (s *Sample) Add(v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = append(s.values, v)
}

// AddTime notes a duration, in seconds.
func (s *Sample) AddTime(d time.Duration) { s.Add(d.Seconds()) }

// At returns the figure that a share of the sample (0 to 1) does not exceed;
// 1 is the maximum. An empty sample gives NaN, which meets no bar.
func (s *Sample) At(share float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.values) == 0 {
		return math.NaN()
	}
	slices.Sort(s.values)
	i := int(math.Ceil(share*float64(len(s.values)))) - 1
	return s.values[max(i, 0)]
}

// Mean returns the mean; NaN for an empty sample.
func (s *Sample) Mean() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum float64
	for _, v := range s.values {
		sum += v
	}
	return sum / float64(len(s.values))
}

// Bench prints a figure of a cluster of n hosts for `make test` to show.
func Bench(name string, n int, value float64) {
	fmt.Printf("BENCH sim_%s_n%d %.3g\n", name, n, value)
}
