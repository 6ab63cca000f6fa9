package crowd

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Figures are of one thing that was done in every round.
type Figures struct {
	Median, Longest time.Duration
	Computed        time.Duration // on average
}

// Memory is the agent's, in MiB.
type Memory struct {
	Before float64 // once everything was done twice
	Grown  float64 // until the end
}

// Measure does each of the things, by its name, in every round; do returns what it
// computed beside the agent.
func (a *Agent) Measure(rounds int, names []string, do func(name string) (own time.Duration, err error)) (map[string]Figures, Memory, error) {
	took, figures, memory := map[string][]time.Duration{}, map[string]Figures{}, Memory{}
	var err error
	for round := range rounds {
		if round == min(2, rounds-1) {
			if memory.Before, err = a.MemoryMiB(); err != nil {
				return nil, memory, err
			}
		}
		for _, name := range names {
			before, began := a.Computed(), time.Now()
			own, err := do(name)
			if err != nil {
				return nil, memory, err
			}
			took[name] = append(took[name], time.Since(began))
			f := figures[name]
			f.Computed += a.Computed() - before + own
			figures[name] = f
		}
	}
	for name, f := range figures {
		all := slices.Sorted(slices.Values(took[name]))
		figures[name] = Figures{Median: all[len(all)/2], Longest: all[len(all)-1], Computed: f.Computed / time.Duration(rounds)}
	}
	after, err := a.MemoryMiB()
	memory.Grown = after - memory.Before
	return figures, memory, err
}

// Milliseconds are a duration's.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Within fails if a median exceeds bar, and names whose.
func Within(bar time.Duration, names []string, figures map[string]Figures) error {
	var slow []string
	for _, name := range names {
		if median := figures[name].Median; median > bar {
			slow = append(slow, fmt.Sprintf("%s (%.0f ms)", name, Milliseconds(median)))
		}
	}
	if len(slow) > 0 {
		return fmt.Errorf("longer than %s: %s", bar, strings.Join(slow, ", "))
	}
	return nil
}
