package main

import (
	"slices"
	"time"
)

// suite is one row of what `make test` does.
type suite struct {
	name     string
	packages []string // patterns of `go list`
	except   []string // patterns of `go list` taken out again
	race     bool     // with the race detector
	again    bool     // on real engines, kernels and elections, or of chances: what fails is tried once more
	beside   string   // the suite that it runs at the same time as: both mostly wait
	atOnce   int      // tests at once, where they mostly wait; 0: as many as cores
	virtual  bool     // only the tests in files tagged !race: see virtual.go
	budget   time.Duration
}

// limit is when a suite counts as hanging: a machine may be much slower than
// the one its budget was written on.
func (s suite) limit() time.Duration { return 3 * s.budget }

// allBudget is what `make test` may take; the large sizes belong to other
// targets.
const allBudget = 50 * time.Minute

// suites are run in this order, the quick ones first. A budget bounds the
// whole suite on two quiet cores; together they stay within allBudget.
func suites() []suite {
	return []suite{
		{name: "house", packages: []string{"./tests", "./tests/run", "./tests/package"}, budget: 90 * time.Second},
		{name: "unit", packages: []string{"./..."}, except: []string{"./tests/...", "./cluster/store/..."}, race: true, budget: 270 * time.Second},
		{name: "virtual", packages: []string{"./..."}, except: []string{"./tests/..."}, virtual: true, budget: time.Minute},
		{name: "store", packages: []string{"./cluster/store/..."}, race: true, again: true, atOnce: 8, budget: 150 * time.Second},
		{name: "sim", packages: []string{"./tests/sim/..."}, again: true, budget: time.Minute},
		{name: "chaos", packages: []string{"./tests/chaos/..."}, budget: 210 * time.Second},
		{name: "browser", packages: []string{"./tests/browser/..."}, again: true, budget: 2 * time.Minute},
		{name: "lab", packages: []string{"./tests/lab/..."}, again: true, beside: "browser", budget: 90 * time.Second},
		{name: "kernel", packages: []string{"./tests/kernel/..."}, again: true, budget: 10 * time.Minute},
		{name: "docker", packages: []string{"./tests/docker/..."}, again: true, atOnce: 5, budget: 24 * time.Minute},
		{name: "swarm", packages: []string{"./tests/swarm/..."}, again: true, atOnce: 3, beside: "docker", budget: 15 * time.Minute},
	}
}

// groups gathers the suites that run at the same time.
func groups(all []suite) [][]suite {
	var out [][]suite
	for _, s := range all {
		if last := len(out) - 1; last >= 0 && slices.Contains(namesOf(out[last]), s.beside) {
			out[last] = append(out[last], s)
		} else {
			out = append(out, []suite{s})
		}
	}
	return out
}
