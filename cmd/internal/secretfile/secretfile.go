// Package secretfile reads files whose content nobody else on the host may know:
// passwords, tokens, keys.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrExposed is that others than root can read a secret or put another in its place.
var ErrExposed = errors.New("the file is not root's alone")

// longest in bytes that is read: a chain of certificates with its key is some 10 KB.
const longest = 64 << 10

// Read is the content of a file that Check has nothing against.
func Read(path string) ([]byte, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, longest+1))
	if err != nil {
		return nil, err
	}
	if len(content) > longest {
		return nil, fmt.Errorf("%s is larger than 64 KiB, which no secret is", path)
	}
	return content, nil
}

// Check refuses a file that is no regular one, which would keep its reader waiting,
// and one that others can read or change (ErrExposed): neither everybody may do
// anything, nor a group write, nor may it be another user's than root's or our own. A
// group may read, as ssl-cert may the keys of Debian. A link is followed, and what it
// leads to is judged.
func Check(path string) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

// open opens a file and judges what it opened, so that nothing takes its place between.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO waits for a writer else
	if err != nil {
		return nil, err
	}
	about, err := file.Stat()
	if err == nil {
		err = judge(path, about, about.Sys().(*syscall.Stat_t).Uid, uint32(os.Geteuid()))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func judge(path string, about fs.FileInfo, owner, own uint32) error {
	const (
		others     = 0o007
		groupWrite = 0o020
	)
	mode := about.Mode().Perm()
	switch {
	case !about.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file: put the secret into one, with mode 0600", path)
	case mode&others != 0:
		return exposed("every user of the host has access to %s (mode %04o): chmod 600 %[1]s", path, mode)
	case mode&groupWrite != 0:
		return exposed("a group can change %s (mode %04o): chmod 600 %[1]s", path, mode)
	case owner != 0 && owner != own:
		return exposed("user %d can change %s: chown root %[2]s, or give gvlan a copy of its own", owner, path)
	}
	return nil
}

// exposedError is ErrExposed in the words for one file.
type exposedError string

func exposed(format string, args ...any) error { return exposedError(fmt.Sprintf(format, args...)) }

// Error says what is wrong and how it is mended.
func (e exposedError) Error() string { return string(e) }

// Is reports whether that is ErrExposed.
func (exposedError) Is(target error) bool { return target == ErrExposed }
