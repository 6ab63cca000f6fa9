package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// report is what was measured.
type report struct {
	lines []line
	rooms []error
}

// line is a figure that has a bar.
type line struct {
	name       string
	value, bar float64
	least      bool // the bar is to be reached, else not to be exceeded
}

// say prints a figure without a bar.
func (r *report) say(name string, value float64) { fmt.Printf("BENCH %s %.4g\n", name, value) }

// most prints a figure that is to stay within a bar.
func (r *report) most(name string, value, bar float64) {
	r.say(name, value)
	r.lines = append(r.lines, line{name, value, bar, false})
}

// least prints a figure that is to reach a bar.
func (r *report) least(name string, value, bar float64) {
	r.say(name, value)
	r.lines = append(r.lines, line{name, value, bar, true})
}

// failed notes that a room could not be measured to its end.
func (r *report) failed(room string, err error) {
	fmt.Printf("# %s failed: %v\n", room, err)
	r.rooms = append(r.rooms, fmt.Errorf("%s: %w", room, err))
}

// bars prints the figures beside their bars. The error names the rooms that
// failed: a bar that is missed is a finding, no failure.
func (r *report) bars() error {
	for _, l := range r.lines {
		sign, met := "<=", l.value <= l.bar
		if l.least {
			sign, met = ">=", l.value >= l.bar
		}
		word := "met"
		if !met {
			word = "MISSED"
		}
		fmt.Printf("%-34s %10.4g  %s %-8.4g %s\n", l.name, l.value, sign, l.bar, word)
	}
	return errors.Join(r.rooms...)
}

// percentile of durations: the smallest that so many percent do not exceed.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// median of figures.
func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	if len(sorted) == 0 {
		return 0
	}
	if half := len(sorted) / 2; len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[len(sorted)/2]
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
