// Command run runs the suites of `make test` one after the other, or beside
// one another where they mostly wait, each in its budget, and counts what they did.
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
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
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

// choose picks the suites with those names, or all without names.
func choose(all []suite, names []string) ([]suite, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []suite
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
	out := &lines{to: os.Stdout}
	var total tally
	var failed []string
	for _, group := range groups(chosen) {
		results := make([]result, len(group))
		var running sync.WaitGroup
		for i, s := range group {
			running.Go(func() { results[i] = s.judge(ctx, out) })
		}
		running.Wait()
		for i, r := range results {
			total.add(r.counts)
			if r.err != nil {
				failed = append(failed, group[i].name)
			}
		}
	}
	if len(failed) > 0 {
		fmt.Printf("failed suites: %s\n", strings.Join(failed, ", "))
	}
	fmt.Println(total)
	return len(failed) == 0
}

// result is how a suite ended.
type result struct {
	counts tally
	err    error
}

// judge runs a suite and prints its verdict.
func (s suite) judge(ctx context.Context, out io.Writer) result {
	fmt.Fprintf(out, "suite %s: begins\n", s.name)
	began := time.Now()
	counts, err := s.run(ctx, out)
	took := time.Since(began).Round(100 * time.Millisecond)
	fmt.Fprintf(out, "suite %s: %s in %s of %s\n", s.name, counts, took, s.budget)
	if took > s.budget {
		fmt.Fprintf(out, "suite %s: OVER ITS BUDGET\n", s.name)
	}
	if err != nil {
		fmt.Fprintf(out, "suite %s: FAILED: %v\n", s.name, err)
		if counts.failed == 0 && counts.skipped == 0 {
			counts.failed++ // a suite that could not run is a failure of its own
		}
	}
	return result{counts, err}
}

// lines passes on what suites that run beside one another print, one write at
// a time: whatever belongs together is one write.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}
