package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"syscall"
)

// Build builds one of this module's programs, statically linked, and gives its path.
// Package is an import path, as in "gvlan/cmd/gvlan"; flags go to go build, as in
// "-cover". The working directory must be inside the module. A program that is up to
// date is not built again.
func Build(ctx context.Context, pkg string, flags ...string) (string, error) {
	dir := filepath.Join(cacheDir(), "bin", fmt.Sprintf("%x", flags))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	unlock, err := flock(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	defer unlock()
	out := filepath.Join(dir, path.Base(pkg))
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, bytes.TrimSpace(said))
	}
	return out, nil
}

// flock takes the exclusive lock on a file: flock(2).
func flock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("take lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}
