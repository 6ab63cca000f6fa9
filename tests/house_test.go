// Package tests has what holds for the repository as a whole: who imports
// whom (arrows_test.go), who writes which key (writers_test.go), how the tree
// looks (this file) and what of how Go is written here no linter knows
// (source_test.go; the rest is .golangci.yml). The folders below are the black-box
// suites and what they run on.
package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the repository as seen from this folder.
const root = ".."

var topFolders = []string{"cmd", "driver", "ipam", "dns", "cluster", "parentfile", "deploy", "tests"}

// TestTopFolders: a stranger finds the room of any behaviour in one guess.
func TestTopFolders(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		madeHere := e.Name() == "bin" || strings.HasPrefix(e.Name(), ".")
		if e.IsDir() && !madeHere && !slices.Contains(topFolders, e.Name()) {
			t.Errorf("%s/ is none of the rooms %s", e.Name(), strings.Join(topFolders, " "))
		}
	}
}

// TestStandsAlone: nothing leans on the machine it was written on.
func TestStandsAlone(t *testing.T) {
	elsewhere := []string{"/wo" + "rk/", "../sha" + "red"}
	for _, path := range repoFiles(t, "") {
		text := string(readFile(t, path))
		for _, word := range elsewhere {
			if i := strings.Index(text, word); i >= 0 {
				t.Errorf("%s:%d mentions %s", path, 1+strings.Count(text[:i], "\n"), word)
			}
		}
	}
}

// TestDesignsAreLinked: who looks for a DESIGN.md finds all of them in
// CONTRIBUTING, by what is to be touched.
func TestDesignsAreLinked(t *testing.T) {
	text := string(readFile(t, "CONTRIBUTING.md"))
	for _, path := range repoFiles(t, "DESIGN.md") {
		if !strings.Contains(text, "]("+path+")") {
			t.Errorf("CONTRIBUTING.md does not link %s", path)
		}
	}
}

// repoFiles lists the files with that ending, as paths below root; what the
// build or git made is left out.
func repoFiles(t *testing.T, ending string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if below == ".git" && !d.IsDir() {
			return nil // of a git worktree: says where the repository is
		}
		if d.IsDir() && (below == ".git" || below == "bin") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && strings.HasSuffix(path, ending) {
			paths = append(paths, below)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func isTest(path string) bool { return strings.HasSuffix(path, "_test.go") }
