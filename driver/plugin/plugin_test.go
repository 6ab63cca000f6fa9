package plugin

import (
	"os"
	"path/filepath"
	"testing"
)

// TestListenReplacesTheSocketOfADeadAgent: a crash leaves the file.
func TestListenReplacesTheSocketOfADeadAgent(t *testing.T) {
	folder, err := os.MkdirTemp("", "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.WriteFile(filepath.Join(folder, "gvlan.sock"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(folder, "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(filepath.Join(folder, "gvlan.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}
