package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testForm is a test as SECURITY.md names it: folder.TestName.
var testForm = regexp.MustCompile(`^([a-z0-9/]+)\.((?:Test|Fuzz)\w+)$`)

// TestPromisesAreTested: each promise of SECURITY.md ends with the tests that hold
// it, in a comment that readers do not see, and those are there.
func TestPromisesAreTested(t *testing.T) {
	_, rest, found := strings.Cut(string(readFile(t, "SECURITY.md")), "\n## What is promised\n")
	promised, _, ended := strings.Cut(rest, "\n## ")
	if !found || !ended {
		t.Fatal("SECURITY.md has no part that says what is promised, or it is the last")
	}
	promises := 0
	for line := range strings.Lines(promised) {
		promise, is := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !is {
			continue
		}
		promises++
		if strings.HasSuffix(promise, ":") { // those below it say what
			continue
		}
		said, comment, found := strings.Cut(promise, "<!--")
		names, ended := strings.CutSuffix(comment, "-->")
		if !found || !ended || len(strings.Fields(names)) == 0 {
			t.Errorf("no test holds this promise: %s", promise)
		}
		for _, name := range strings.Fields(names) {
			if !isThere(t, name) {
				t.Errorf("%s, which is to hold a promise, is no test: %s", name, said)
			}
		}
	}
	if promises < 10 {
		t.Errorf("%d promises were found: this test does not see them", promises)
	}
}

// isThere reports whether there is a test of that name.
func isThere(t *testing.T, name string) bool {
	t.Helper()
	form := testForm.FindStringSubmatch(name)
	if form == nil {
		return false
	}
	paths, err := filepath.Glob(filepath.Join(root, form[1], "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+form[2]+"(") {
			return true
		}
	}
	return false
}
