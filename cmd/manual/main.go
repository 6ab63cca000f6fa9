// Command manual writes what comes with gvlan beside the binary and is made of
// its commands: a manual page for each, and the completions of the shells. The
// packages have them; gvlan itself has no part that writes manual pages.
//
//	manual FOLDER    man/man1/gvlan-....1 and the shells' files below FOLDER, as below /usr/share
//
// SOURCE_DATE_EPOCH (seconds) is the date on the pages, VERSION the version.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra/doc"

	"gvlan/cmd/internal/cli"
)

// completions are where each shell looks below /usr/share.
var completions = map[string]string{
	"bash": "bash-completion/completions/gvlan",
	"zsh":  "zsh/vendor-completions/_gvlan",
	"fish": "fish/vendor_completions.d/gvlan.fish",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manual FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Getenv("VERSION")); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write makes all files below a folder.
func write(folder, version string) error {
	pages := filepath.Join(folder, "man", "man1")
	if err := os.MkdirAll(pages, 0o755); err != nil {
		return err
	}
	root := cli.Root(version)
	root.DisableAutoGenTag = true
	err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "gvlan " + version, Manual: "gvlan"}, pages)
	if err != nil {
		return fmt.Errorf("write the manual: %w", err)
	}
	for shell, path := range completions {
		if err := complete(shell, filepath.Join(folder, path), version); err != nil {
			return fmt.Errorf("write the completions of %s: %w", shell, err)
		}
	}
	return nil
}

// complete writes one shell's completions.
func complete(shell, path, version string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if status := cli.Run(context.Background(), []string{"completion", shell}, file, os.Stderr, version, nil); status != 0 {
		file.Close()
		return fmt.Errorf("gvlan completion %s ended with %d", shell, status)
	}
	return file.Close()
}
