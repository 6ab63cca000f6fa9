package secretfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(to string) string {
		t.Helper()
		path := to + ".link"
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	world := file("world", "sesame", 0o604)
	for _, test := range []struct {
		name, path, want string // want: of the error
		exposed          bool
	}{
		{name: "the owner's", path: file("own", "sesame", 0o400)},
		{name: "a group's to read", path: file("group", "sesame", 0o640)},
		{name: "a link to one", path: link(file("target", "sesame", 0o600))},
		{name: "everybody's to read", path: world, want: world + " (mode 0604): chmod 600 " + world, exposed: true},
		{name: "everybody's to write", path: file("write", "sesame", 0o602), want: "(mode 0602): chmod 600 ", exposed: true},
		{name: "a link to everybody's", path: link(world), want: "every user of the host has access to ", exposed: true},
		{name: "a group's to write", path: file("groups", "sesame", 0o660), want: "a group can change ", exposed: true},
		{name: "a FIFO", path: fifo, want: "is no regular file"},
		{name: "a device", path: "/dev/zero", want: "is no regular file"},
		{name: "a folder", path: dir, want: "is no regular file"},
		{name: "none", path: filepath.Join(dir, "none"), want: "no such file"},
		{name: "a large one", path: file("large", strings.Repeat("sesame", longest), 0o600), want: "is larger than 64 KiB"},
	} {
		content, err := Read(test.path)
		if test.want == "" {
			if err != nil || string(content) != "sesame" {
				t.Errorf("%s: %q, %v", test.name, content, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || len(content) > 0 || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %q, %v; want %q", test.name, content, err, test.want)
		}
		if errors.Is(err, ErrExposed) != test.exposed || errors.Is(err, os.ErrExist) {
			t.Errorf("%s: %v is ErrExposed: %v", test.name, err, !test.exposed)
		}
	}
}

// TestOwner: whoever has a file can change it, whatever its mode is.
func TestOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	about, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		owner, own uint32
		refused    bool
	}{{0, 0, false}, {0, 1000, false}, {1000, 1000, false}, {1000, 0, true}, {1000, 1001, true}} {
		err := judge(path, about, test.owner, test.own)
		if errors.Is(err, ErrExposed) != test.refused {
			t.Errorf("a file of user %d, read by %d: %v", test.owner, test.own, err)
		}
		if err != nil && !strings.Contains(err.Error(), "chown root "+path) {
			t.Errorf("no cure: %v", err)
		}
	}
}
