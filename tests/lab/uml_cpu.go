package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// cpu reserves a processor for one UML kernel, until release. Its processes take
// turns: every system call of one wakes the kernel's own process and back, which on
// one processor costs a third of what it does across two. Where all are reserved the
// kernel may run anywhere, and prefix is empty.
func cpu() (prefix []string, release func(), err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, nil, fmt.Errorf("list processors: %w", err)
	}
	for n := range len(allowed) * 64 {
		if !allowed.IsSet(n) {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(base, fmt.Sprintf(".cpu%d.lock", n)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("reserve processor %d: %w", n, err)
		}
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return []string{"taskset", "-c", fmt.Sprint(n)}, func() { lock.Close() }, nil
		}
		lock.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil, fmt.Errorf("reserve processor %d: %w", n, err)
		}
	}
	return nil, func() {}, nil
}
