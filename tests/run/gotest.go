package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long a suite may clean up after its limit is reached, before
// it is killed.
const patience = time.Minute

// run runs the suite and returns its counts, and why it did not pass.
func (s suite) run(ctx context.Context, out io.Writer) (tally, error) {
	packages, err := s.list(ctx)
	if err != nil {
		return tally{}, err
	}
	args := []string{"test", "-json", "-count=1", "-timeout=" + s.limit().String()}
	if s.race {
		args = append(args, "-race")
	}
	if s.atOnce > 0 {
		args = append(args, fmt.Sprintf("-parallel=%d", s.atOnce))
	}
	if s.virtual {
		only, err := virtualTests(packages)
		if err != nil {
			return tally{}, err
		}
		if len(only.tests) == 0 {
			return tally{}, nil // nothing in the tree needs this suite
		}
		args = append(args, "-run=^("+strings.Join(only.tests, "|")+")$")
		packages = only.packages
	}
	for _, p := range packages {
		args = append(args, p.ImportPath)
	}
	return s.tryTwice(ctx, args, out)
}

// tryTwice runs the suite, and what failed in a suite that shares its machine
// with engines and kernels, or judges chances, once more and alone: a machine
// that is busy with something else can starve it. What passes then is named
// as flaky, which is a defect to mend and not one of this run.
func (s suite) tryTwice(ctx context.Context, args []string, out io.Writer) (tally, error) {
	first, err := s.goTest(ctx, args, out)
	fmt.Fprintf(out, "suite %s: slowest: %s\n", s.name, first.slowest(slowestShown))
	if err == nil || !s.again || first.crash || len(first.failed) == 0 {
		return first.counts, err
	}
	names := slices.Sorted(maps.Keys(first.failed))
	for _, name := range names {
		pattern := first.failed[name].pattern(name)
		fmt.Fprintf(out, "suite %s: again: %s\n", s.name, pattern)
		again, err := s.goTest(ctx, append(slices.Clone(args), "-run="+pattern), out)
		if err != nil {
			return first.counts, err
		}
		first.counts.passed += again.counts.passed
	}
	fmt.Fprintf(out, "suite %s: FLAKY, failed once and then passed: %s\n", s.name, strings.Join(names, " "))
	first.counts.failed = 0
	return first.counts, first.counts.verdict()
}

// goTest runs the go command in a process group of its own, so that the end
// of the limit reaches the tests too and lets them clean up.
func (s suite) goTest(ctx context.Context, args []string, out io.Writer) (*reader, error) {
	r := newReader(out)
	ctx, cancel := context.WithTimeout(ctx, s.limit())
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo(s.race))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = patience
	events, err := cmd.StdoutPipe()
	if err != nil {
		return r, fmt.Errorf("start go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return r, fmt.Errorf("start go test: %w", err)
	}
	readErr := r.read(events)
	waitErr := cmd.Wait()
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return r, fmt.Errorf("it hangs: still running after %s, three times its budget", s.limit())
	}
	if err := r.counts.verdict(); err != nil {
		return r, err
	}
	return r, errors.Join(readErr, waitErr)
}

// cgo is needed by the race detector only; everything else runs as shipped.
func cgo(race bool) string {
	if race {
		return "1"
	}
	return "0"
}

// goPackage is a package that has tests.
type goPackage struct {
	ImportPath string
	Dir        string
	Tests      []string // names of its _test.go files, whatever their build tags
}

// list resolves the suite's patterns to the packages that have tests.
func (s suite) list(ctx context.Context) ([]goPackage, error) {
	all, err := goList(ctx, s.packages)
	if err != nil {
		return nil, fmt.Errorf("list the packages of suite %s: %w", s.name, err)
	}
	if len(s.except) > 0 {
		out, err := goList(ctx, s.except)
		if err != nil {
			return nil, fmt.Errorf("list the packages suite %s leaves out: %w", s.name, err)
		}
		all = slices.DeleteFunc(all, func(p goPackage) bool {
			return slices.ContainsFunc(out, func(o goPackage) bool { return o.ImportPath == p.ImportPath })
		})
	}
	all = slices.DeleteFunc(all, func(p goPackage) bool { return len(p.Tests) == 0 })
	if len(all) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(s.packages, " "))
	}
	return all, nil
}

// goList asks the toolchain; a pattern that matches nothing gives nothing.
func goList(ctx context.Context, patterns []string) ([]goPackage, error) {
	const format = `{{.ImportPath}}|{{.Dir}}|{{join .TestGoFiles ","}},{{join .XTestGoFiles ","}},{{join .IgnoredGoFiles ","}}`
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-e", "-f", format}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var found []goPackage
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 3 {
			return nil, fmt.Errorf("go list printed %q", line)
		}
		p := goPackage{ImportPath: fields[0], Dir: fields[1]}
		for _, name := range strings.Split(fields[2], ",") {
			if strings.HasSuffix(name, "_test.go") {
				p.Tests = append(p.Tests, name)
			}
		}
		found = append(found, p)
	}
	return found, nil
}
