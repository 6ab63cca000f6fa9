// Command run runs the suites of `make test` one after the other, each in
// its budget, and counts what they did.
//
//	go run ./tests/run [SUITE...]
//
// A suite fails when a test fails, when a test is skipped, when nothing ran
// (a folder without tests proves nothing) or when it hangs: when it took three
// times its budget. One that took longer than its budget is told; a busy
// machine is no failure. What fails on real engines, or of chances, is tried
// once more, and named as flaky when it passes then; the slowest tests are
// named too. What a failed or skipped test printed is shown, and every line
// that begins with BENCH. The last line is "N passed, N failed, N skipped" over all suites,
// subtests included; the exit status is 0 only if every suite passed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen, err := choose(suites(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(2)
	}
	if !runAll(ctx, chosen) {
		os.Exit(1)
	}
}

// choose picks the suites with those names, or, without names, all that do
// not wait to be named; what is left out is told.
func choose(all []suite, names []string) ([]suite, error) {
	var chosen []suite
	if len(names) == 0 {
		var left []suite
		for _, s := range all {
			if s.named {
				left = append(left, s)
			} else {
				chosen = append(chosen, s)
			}
		}
		if len(left) > 0 {
			fmt.Printf("not run, unless named: %s\n", strings.Join(namesOf(left), ", "))
		}
		return chosen, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(s suite) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no suite is called %q; there are: %s", name, strings.Join(namesOf(all), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func namesOf(all []suite) []string {
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

// runAll runs every suite, also after one failed, and prints the tally.
func runAll(ctx context.Context, chosen []suite) bool {
	var total tally
	var failed []string
	for _, s := range chosen {
		fmt.Printf("suite %s: begins\n", s.name)
		began := time.Now()
		counts, err := s.run(ctx, os.Stdout)
		took := time.Since(began).Round(100 * time.Millisecond)
		fmt.Printf("suite %s: %s in %s of %s\n", s.name, counts, took, s.budget)
		if took > s.budget {
			fmt.Printf("suite %s: OVER ITS BUDGET\n", s.name)
		}
		if err != nil {
			fmt.Printf("suite %s: FAILED: %v\n", s.name, err)
			failed = append(failed, s.name)
			if counts.failed == 0 && counts.skipped == 0 {
				counts.failed++ // a suite that could not run is a failure of its own
			}
		}
		total.add(counts)
	}
	if len(failed) > 0 {
		fmt.Printf("failed suites: %s\n", strings.Join(failed, ", "))
	}
	fmt.Println(total)
	return len(failed) == 0
}
