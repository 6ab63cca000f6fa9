package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// tally counts tests and subtests.
type tally struct{ passed, failed, skipped int }

// String is the closing line of a run.
func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

func (t *tally) add(u tally) {
	t.passed += u.passed
	t.failed += u.failed
	t.skipped += u.skipped
}

// verdict says why a suite with these counts did not pass.
func (t tally) verdict() error {
	switch {
	case t.failed > 0:
		return fmt.Errorf("%d tests failed", t.failed)
	case t.skipped > 0:
		return fmt.Errorf("%d tests were skipped, and a skipped test proves nothing", t.skipped)
	case t.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}

// event is one line of `go test -json` (`go doc test2json`).
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// reader follows the events of one `go test -json`.
type reader struct {
	out    io.Writer
	counts tally
	held   map[string][]string // output of "package test" until its fate is known
	broken map[string]bool     // packages with a failed test
	failed map[string]subtests // top-level tests that failed
	took   map[string]float64  // seconds of each top-level test, and of its subtests
	crash  bool                // a package failed outside its tests
}

// newReader writes what a person has to see to out.
func newReader(out io.Writer) *reader {
	return &reader{out: out, held: map[string][]string{}, broken: map[string]bool{}, failed: map[string]subtests{}, took: map[string]float64{}}
}

// read follows the events to their end.
func (r *reader) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the output of go test: %w", err)
		}
	}
}

// line takes one line; what is no event (the toolchain's own words) is shown.
func (r *reader) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Fprint(r.out, line)
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.held[key] = append(r.held[key], e.Output)
		if strings.HasPrefix(strings.TrimSpace(e.Output), "BENCH ") {
			fmt.Fprint(r.out, strings.TrimLeft(e.Output, " \t"))
		}
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		r.finished(e)
		delete(r.held, key)
	}
}

// finished counts a test that ended, or a package that broke outside its
// tests (did not build, crashed, ran out of time).
func (r *reader) finished(e event) {
	if e.Test != "" && strings.Count(e.Test, "/") < 2 {
		r.took[e.Test] = e.Elapsed
	}
	show := func() { fmt.Fprint(r.out, strings.Join(r.held[e.Package+" "+e.Test], "")) }
	switch {
	case e.Test == "" && e.Action == "fail" && !r.broken[e.Package]:
		r.counts.failed++
		r.crash = true
		show()
		fmt.Fprintf(r.out, "FAIL %s\n", e.Package)
	case e.Test == "":
	case e.Action == "pass":
		r.counts.passed++
	case e.Action == "fail":
		r.counts.failed++
		r.broken[e.Package] = true
		r.fail(e.Test)
		show()
		fmt.Fprintf(r.out, "FAIL %s %s\n", e.Package, e.Test)
	case e.Action == "skip":
		r.counts.skipped++
		show()
		fmt.Fprintf(r.out, "SKIP %s %s\n", e.Package, e.Test)
	}
}
