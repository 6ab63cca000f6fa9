package socket_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gvlan/driver/socket"
)

// TestListen has the most open umask there is: the socket is its user's alone all
// the same. The test is not parallel, and nothing else here makes files.
func TestListen(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := socket.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	about, err := os.Stat(path)
	if err != nil || about.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v: %v", about.Mode(), err)
	}
	if _, err := socket.Listen(t.Context(), path); err == nil {
		t.Error("a second one is at the same path")
	}
}
