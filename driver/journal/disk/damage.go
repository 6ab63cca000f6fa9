package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is returned by Open for a file that is there and cannot be a
// journal, or whose content cannot be trusted.
var ErrDamaged = errors.New("the journal is damaged")

// bbolt panics on pages that are not what they should be, and an access
// beyond the end of a file that was cut short is a fault of the machine.
// guarded calls f and returns either as ErrDamaged.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if found := recover(); found != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, found)
		}
	}()
	return f()
}

// openFile opens the file as far as bbolt looks at it by itself: both meta
// pages and the list of free pages.
func openFile(path string) (db *bolt.DB, err error) {
	var file *os.File
	err = guarded(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: openTimeout,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if errors.Is(err, ErrDamaged) {
		// A panic left it open, locked, and mapped, which keeps the lock.
		return nil, errors.Join(err, syscall.Flock(int(file.Fd()), syscall.LOCK_UN), file.Close())
	}
	if _, refused := errors.AsType[syscall.Errno](err); err == nil || refused || errors.Is(err, berrors.ErrTimeout) {
		return db, err
	}
	return nil, fmt.Errorf("%w: %w", ErrDamaged, err) // not the system's words but bbolt's
}

// check reads all there is. bbolt would find damage at the first use of a
// page, with a panic, or not at all: a list of free pages that names a used
// one has it written over.
func check(db *bolt.DB, readable func(bucket string, value []byte) bool) error {
	return guarded(func() error {
		return db.View(func(tx *bolt.Tx) error {
			info, err := os.Stat(db.Path())
			if err != nil {
				return err
			}
			if size := info.Size(); size < tx.Size() {
				return fmt.Errorf("%w: it has %d bytes and %d are in use", ErrDamaged, size, tx.Size())
			}
			if err := readAll(tx, readable); err != nil {
				return err
			}
			// Last, since it looks at the same pages on a goroutine of its
			// own, where a fault cannot be caught.
			var found error
			for err := range tx.Check() { // to its end, or its goroutine stays
				if found == nil {
					found = fmt.Errorf("%w: %w", ErrDamaged, err)
				}
			}
			return found
		})
	})
}

// readAll reads every value, so that every page is looked at.
func readAll(tx *bolt.Tx, readable func(bucket string, value []byte) bool) error {
	return tx.ForEach(func(name []byte, bucket *bolt.Bucket) error {
		return bucket.ForEach(func(key, value []byte) error {
			if kept := slices.Clone(value); readable != nil && !readable(string(name), kept) {
				return fmt.Errorf("%w: %q in bucket %s is no record", ErrDamaged, key, name)
			}
			return nil
		})
	})
}

// SetAside gives a damaged journal another name and returns it, so that Open
// makes a new one and the old one can still be looked at.
func SetAside(path string, now time.Time) (string, error) {
	aside := path + ".damaged-" + now.UTC().Format("20060102T150405.000Z")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set the damaged journal aside: %w", err)
	}
	// The recent changes are of this file: without it nothing tells which of
	// them it had.
	if err := os.Rename(path+recentSuffix, aside+recentSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("set the damaged journal's recent changes aside: %w", err)
	}
	return aside, nil
}
