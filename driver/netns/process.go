package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// HasProcess reports whether the main thread of any process is in the namespace.
// Zombies are not counted: they have left it. It walks /proc, so it sees the
// processes of this PID namespace only. A sandbox without one belongs to no
// running container.
func (ns *Namespace) HasProcess() (bool, error) {
	found := false
	err := ns.eachProcess(func(int) bool {
		found = true
		return false
	})
	return found, err
}

// eachProcess calls visit with every process in the namespace until visit
// returns false. Processes that end meanwhile are left out.
func (ns *Namespace) eachProcess(visit func(pid int) bool) error {
	var view ID
	err := ns.Do(func() (err error) {
		view, err = identify("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return fmt.Errorf("identify network namespace: %w", err)
	}
	pids, err := processes()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, pid := range pids {
		in, err := ns.holds(pid, view)
		if gone(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find network namespace of process %d: %w", pid, err)
		}
		if in && !visit(pid) {
			return nil
		}
	}
	return nil
}

// holds reports whether process pid is in the namespace. Reading another
// process's ns/net takes the right to trace it, which a managed plugin lacks
// and even root may lack towards PID 1. Its net/dev takes none, and procfs
// gives that file one inode in each network namespace: view.
func (ns *Namespace) holds(pid int, view ID) (bool, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	id, err := identify(filepath.Join(dir, "ns/net"))
	if !errors.Is(err, fs.ErrPermission) {
		return id == ns.id, err
	}
	id, err = identify(filepath.Join(dir, "net/dev"))
	return id == view, err
}

func gone(err error) bool {
	// A zombie's net directory refuses with EINVAL.
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func identify(path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, err
	}
	return ID{Device: st.Dev, Inode: st.Ino}, nil
}
