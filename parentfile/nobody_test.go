package parentfile_test

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody runs fn on a thread without root's rights over files; the thread
// ends with it. An ordinary user has none to give up.
func asNobody(t *testing.T, fn func() error) error {
	t.Helper()
	if os.Getuid() != 0 {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
			done <- errno
			return
		}
		done <- fn()
	}()
	return <-done
}
