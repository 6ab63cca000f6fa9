package datadir

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestDataDirHasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan")
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path)
	held, ok := errors.AsType[*HeldError](err)
	if !ok {
		t.Fatalf("second agent got %v, want a heldError", err)
	}
	if want := strconv.Itoa(os.Getpid()); held.pid != want || held.path != path {
		t.Errorf("held by process %q in %q, want %q in %q", held.pid, held.path, want, path)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Open(path)
	if err != nil {
		t.Fatalf("after the first agent is gone: %v", err)
	}
	second.Close()
}

// TestDataDirIsRootsAlone: one that others could look into is taken from them.
func TestDataDirIsRootsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan")
	if err := errors.Join(os.Mkdir(path, 0o755), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	dir, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for path, want := range map[string]os.FileMode{path: 0o700, filepath.Join(path, "lock"): 0o600} {
		if about, err := os.Stat(path); err != nil || about.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v), want %v", path, about.Mode().Perm(), err, want)
		}
	}
}

func TestInstallID(t *testing.T) {
	path := t.TempDir()
	dir, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	made, err := dir.InstallID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again, err := dir.InstallID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if made != again {
		t.Errorf("install id changed from %s to %s", made, again)
	}

	if err := os.WriteFile(filepath.Join(path, "install"), []byte("half an i"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := dir.InstallID(rand.Reader); err == nil {
		t.Errorf("a damaged install id was replaced by %s; that would be another install", id)
	}
}
