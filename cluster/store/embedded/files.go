package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The files of a data directory that are gvlan's; etcd's are in "member".
const (
	lockFile   = "lock"
	secretMode = 0o600
)

// lock takes a data directory for this process, until the file is closed.
// etcd would wait for another process to leave, without a word and without
// end.
func lock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, secretMode)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory of the embedded etcd: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("data directory %s of the embedded etcd is in use by %s: stop it first", dir, holder(file))
		return nil, errors.Join(err, file.Close())
	}
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(file, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	return file, nil
}

// holder describes the process whose id is in a lock file.
func holder(file *os.File) string {
	raw := make([]byte, 32)
	n, _ := file.ReadAt(raw, 0)
	pid := strings.TrimSpace(string(raw[:n]))
	name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if pid == "" || err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}
