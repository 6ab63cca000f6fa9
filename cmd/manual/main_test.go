package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cmd/internal/cli"
	"gvlan/cmd/internal/cli/frame"
)

// TestEveryCommandHasAPage: with its synopsis, the version and no date but the one
// that was given; and each shell its file.
func TestEveryCommandHasAPage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	folder := t.TempDir()
	if err := write(folder, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	root := cli.Root("1.2.3")
	all := append(frame.Commands(root), root)
	if len(all) < 50 {
		t.Errorf("%d commands, want at least 50", len(all))
	}
	for _, c := range all {
		page, err := os.ReadFile(filepath.Join(folder, "man/man1", strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{`"Nov 2023"`, `"gvlan 1.2.3"`, c.CommandPath()} {
			if !strings.Contains(string(page), want) {
				t.Errorf("the page of %s lacks %s", c.CommandPath(), want)
			}
		}
	}
	for shell, path := range completions {
		if text, err := os.ReadFile(filepath.Join(folder, path)); err != nil || !strings.Contains(string(text), "gvlan") {
			t.Errorf("completions of %s: %v, %d bytes", shell, err, len(text))
		}
	}
}
