package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// slowestShown is how many tests of a suite are told with their time.
const slowestShown = 10

// subtests are names of subtests, those directly below a test.
type subtests map[string]bool

// pattern is what `go test -run` takes to run only them of a test, or the
// whole test when there are none (`go help testflag`).
func (s subtests) pattern(test string) string {
	pattern := "^" + regexp.QuoteMeta(test) + "$"
	if len(s) == 0 {
		return pattern
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		names = append(names, regexp.QuoteMeta(name))
	}
	return pattern + "/^(" + strings.Join(names, "|") + ")$"
}

// fail notes a test or subtest that failed.
func (r *reader) fail(test string) {
	path := strings.Split(test, "/")
	if r.failed[path[0]] == nil {
		r.failed[path[0]] = subtests{}
	}
	if len(path) > 1 {
		r.failed[path[0]][path[1]] = true
	}
}

// slowest lists the tests that took longest, with their seconds. A test whose subtests
// run beside each other has no time of its own: those are listed.
func (r *reader) slowest(count int) string {
	names := slices.SortedFunc(maps.Keys(r.took), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.took[b], r.took[a]), strings.Compare(a, b))
	})
	names = slices.DeleteFunc(names, func(name string) bool {
		test, _, sub := strings.Cut(name, "/")
		return sub && r.took[test] >= r.took[name]
	})
	var words []string
	for _, name := range names[:min(count, len(names))] {
		words = append(words, fmt.Sprintf("%s %.0fs", name, r.took[name]))
	}
	return strings.Join(words, ", ")
}
