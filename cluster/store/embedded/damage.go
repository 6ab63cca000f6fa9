package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// ErrDamaged is returned by Run for data that etcd cannot go on from. The
// error names the file and the way out.
var ErrDamaged = errors.New("the data of the embedded etcd is damaged")

// memberDir is etcd's own folder in a data directory.
const memberDir = "member"

// databaseTimeout bounds the wait for a process that has the database open.
// The directory's lock is taken first, so there is none but one that exits.
const databaseTimeout = 3 * time.Second

// damaged is ErrDamaged of a file, with the way out.
func (s *Server) damaged(file string, what error) error {
	return fmt.Errorf("%w: %s: %w: stop the agent and put a copy of %s back, or move that folder away; "+
		"start the agent; every agent then writes its own networks and addresses back, after which `gvlan recover` trusts the store again",
		ErrDamaged, file, what, filepath.Join(s.config.Dir, memberDir))
}

// logDir is where the write-ahead log of a data directory lies.
func logDir(dir string) string { return filepath.Join(dir, memberDir, "wal") }

// Holds reports whether a data directory has a member's data, damaged or not.
// What a join that the other members refused leaves is none: etcd makes its
// database before it asks them. Begun from that, and told of no others, it would
// be a cluster of its own.
func Holds(dir string) bool {
	if wal.Exist(logDir(dir)) {
		return true
	}
	applied, err := appliedIndex(database(dir))
	return err != nil || applied > 0
}

// inspect looks at what etcd will start from. With a log that ends before
// what its database took from it, etcd would wait for the rest without a word
// and without end; other damage it meets with a panic.
func (s *Server) inspect() error {
	database, log := database(s.config.Dir), logDir(s.config.Dir)
	applied, err := appliedIndex(database)
	if err != nil {
		return s.damaged(database, err)
	}
	if !wal.Exist(log) {
		if applied > 0 {
			return s.damaged(log, errors.New("the write-ahead log is missing"))
		}
		return nil
	}
	logged, err := loggedIndex(log)
	if err != nil {
		return s.damaged(log, fmt.Errorf("the write-ahead log cannot be read: %w", err))
	}
	if logged < applied {
		return s.damaged(log, fmt.Errorf("the write-ahead log ends at entry %d, and the database has %d", logged, applied))
	}
	return nil
}

// appliedIndex is the last entry of the log that the database has; 0 without
// a database.
func appliedIndex(path string) (index uint64, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	err = guarded(func() error {
		db, err := bolt.Open(path, secretMode, &bolt.Options{ReadOnly: true, Timeout: databaseTimeout})
		if err != nil {
			return err
		}
		defer db.Close()
		return db.View(func(tx *bolt.Tx) error {
			if size := info.Size(); size < tx.Size() {
				return fmt.Errorf("it has %d bytes and %d are in use", size, tx.Size())
			}
			bucket := tx.Bucket(schema.Meta.Name())
			if bucket == nil {
				return nil
			}
			if raw := bucket.Get(schema.MetaConsistentIndexKeyName); len(raw) == 8 {
				index = binary.BigEndian.Uint64(raw)
			}
			return nil
		})
	})
	return index, err
}

// loggedIndex is the last entry of a write-ahead log. A last record that was
// not written to its end counts as none: etcd cuts it off.
func loggedIndex(dir string) (index uint64, err error) {
	err = guarded(func() error {
		snapshots, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
		if err != nil {
			return err
		}
		if len(snapshots) == 0 {
			return errors.New("it has no beginning")
		}
		from := snapshots[len(snapshots)-1]
		log, err := wal.OpenForRead(zap.NewNop(), dir, from)
		if err != nil {
			return err
		}
		defer log.Close()
		_, _, entries, err := log.ReadAll()
		index = from.GetIndex()
		if len(entries) > 0 {
			index = entries[len(entries)-1].GetIndex()
		}
		return err
	})
	return index, err
}

// startEtcd starts etcd, which panics on some damage, and gives up on some.
func (s *Server) startEtcd() (etcd *embed.Etcd, err error) {
	var panicked error
	finished := attempt(func() {
		panicked = guarded(func() error {
			etcd, err = embed.StartEtcd(s.etcdConfig())
			return nil
		})
	})
	if !finished {
		panicked = s.collapse.explain(s.config.Dir)
	}
	if errors.Is(panicked, ErrNoSpace) {
		return nil, fmt.Errorf("%w: %w", ErrStuck, panicked) // it has files open
	}
	if panicked != nil {
		return nil, s.damaged(filepath.Join(s.config.Dir, memberDir), panicked)
	}
	return etcd, err
}

// guarded calls f and returns a panic as an error, and so an access beyond
// the end of a file that was cut short.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if found := recover(); found != nil {
			err = fmt.Errorf("%v", found)
		}
	}()
	return f()
}
