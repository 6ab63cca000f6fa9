// Package netns opens network namespaces and runs functions in them on
// threads of their own.
//
// A goroutine that changes its namespace must keep its thread until it has
// changed back, and a thread that cannot change back must never run another
// goroutine: Do takes care of both (see DESIGN.md). Nothing here knows Docker
// or links; a namespace's descriptor is what netlink.NewHandleAt and
// link.Open take.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotNamespace is returned for a path that exists and is no network
// namespace, such as the empty file that engines before 28 have at the
// SandboxKey while Join runs.
var ErrNotNamespace = errors.New("not a network namespace")

// Namespace is an open network namespace. It stays usable while it is open,
// even after its last process and its path have gone. Close releases it.
type Namespace struct {
	file *os.File
	id   ID
}

// ID identifies a namespace as the kernel does, see namespaces(7). Equal IDs
// of namespaces that are open at the same time mean the same namespace.
type ID struct {
	Device uint64
	Inode  uint64
}

// Open opens the namespace at path: a SandboxKey, /run/netns/NAME or
// /proc/PID/ns/net. The error wraps fs.ErrNotExist when there is no such
// path, and ErrNotNamespace when it is something else.
func Open(path string) (*Namespace, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	ns, err := adopt(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	return ns, nil
}

// Current opens the network namespace of the calling thread.
func Current() (*Namespace, error) {
	return Open("/proc/thread-self/ns/net")
}

// IsMounted reports whether path is a network namespace now. A missing path
// is false without an error.
func IsMounted(path string) (bool, error) {
	ns, err := Open(path)
	switch {
	case err == nil:
		ns.Close()
		return true, nil
	case errors.Is(err, ErrNotNamespace), errors.Is(err, os.ErrNotExist):
		return false, nil
	}
	return false, err
}

// Close releases the descriptor.
func (ns *Namespace) Close() error { return ns.file.Close() }

// Fd gives the descriptor, valid until Close. It is what
// netlink.NewHandleAt(netns.NsHandle(fd)) takes.
func (ns *Namespace) Fd() int { return int(ns.file.Fd()) }

// Path gives the path it was opened by, which may have gone since.
func (ns *Namespace) Path() string { return ns.file.Name() }

// ID gives the namespace's identity.
func (ns *Namespace) ID() ID { return ns.id }

// Do runs fn in the namespace and returns its error. See the function Do.
func (ns *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(ns.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// Do runs fn in the namespace at path and returns its error. The goroutine
// and thread of fn are its own: sockets that fn opens belong to the namespace
// for ever, goroutines that fn starts do not run in it. Errors before fn are
// those of Open.
func Do(path string, fn func() error) error {
	ns, err := Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(fn)
}

// adopt checks that file is a network namespace and takes it over.
func adopt(file *os.File) (*Namespace, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return nil, err
	}
	// Before Linux 3.19 namespaces were procfs files; gvlan's DNS needs far newer.
	if fs.Type != unix.NSFS_MAGIC {
		return nil, ErrNotNamespace
	}
	// NS_GET_NSTYPE is there since Linux 4.11; without it setns will judge.
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWNET {
		return nil, ErrNotNamespace
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	return &Namespace{file: file, id: ID{Device: st.Dev, Inode: st.Ino}}, nil
}

// onThread runs fn on a locked thread that fn may move to another network
// namespace. The thread goes back to the pool only once it is home again;
// else it ends with its goroutine (see runtime.LockOSThread).
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		finished := errors.New("function in network namespace ended without returning")
		defer func() { done <- finished }()
		runtime.LockOSThread()
		home, err := Current()
		if err != nil {
			finished = err
			runtime.UnlockOSThread()
			return
		}
		defer home.Close()
		finished = fn()
		if unix.Setns(home.Fd(), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return <-done
}
