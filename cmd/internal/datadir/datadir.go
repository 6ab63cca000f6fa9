// Package datadir is the agent's folder: one agent at a time works in it, and
// it says which install that is.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/uuid"
)

// Dir is the folder, locked for this process. The kernel drops the lock with the process, however that ends.
type Dir struct {
	path string
	lock *os.File // its content is the holder's process id
}

// mode of the folder: what is in it is for root.
const mode = 0o700

// HeldError says that another agent works in the data directory.
type HeldError struct{ path, pid string }

// Error names the holder.
func (e *HeldError) Error() string {
	return fmt.Sprintf("data directory %s is in use by another gvlan agent (process %s): stop that one, or give this one its own --data-dir, --node-name and --plugin-socket-dir", e.path, e.pid)
}

// Open makes the folder if need be, takes it from others, and locks it.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, mode); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if about, err := os.Stat(path); err != nil || about.Mode().Perm() != mode {
		if err := errors.Join(err, os.Chmod(path, mode)); err != nil {
			return nil, fmt.Errorf("keep the data directory to root: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the data directory's lock: %w", err)
	}
	if err := acquire(lock); err != nil {
		lock.Close()
		return nil, err
	}
	return &Dir{path: path, lock: lock}, nil
}

// acquire locks the file and writes this process's id into it.
func acquire(lock *os.File) error {
	err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(lock)
		return &HeldError{path: filepath.Dir(lock.Name()), pid: strings.TrimSpace(string(pid))}
	}
	if err != nil {
		return fmt.Errorf("lock the data directory: %w", err)
	}
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("write the data directory's lock: %w", err)
	}
	if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
		return fmt.Errorf("write the data directory's lock: %w", err)
	}
	return nil
}

// InstallID is the random uuid of this folder, made on first use. A folder
// that was lost makes another install; one that was copied is the same install
// twice, which the epoch in etcd shows.
func (d *Dir) InstallID(random io.Reader) (string, error) {
	path := d.installPath()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return d.NewInstall(random)
	}
	if err != nil {
		return "", fmt.Errorf("read the install id: %w", err)
	}
	id, err := uuid.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("read the install id %s: %w", path, err)
	}
	return id.String(), nil
}

func (d *Dir) installPath() string { return filepath.Join(d.path, "install") }

// NewInstall writes a new id so that a power cut leaves all of it or none.
func (d *Dir) NewInstall(random io.Reader) (string, error) {
	path := d.installPath()
	id, err := uuid.NewRandomFromReader(random)
	if err != nil {
		return "", fmt.Errorf("make an install id: %w", err)
	}
	draft, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("write the install id: %w", err)
	}
	_, err = fmt.Fprintln(draft, id)
	err = errors.Join(err, draft.Sync(), draft.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return "", fmt.Errorf("write the install id: %w", err)
	}
	return id.String(), nil
}

// Close gives the folder back.
func (d *Dir) Close() error { return d.lock.Close() }
