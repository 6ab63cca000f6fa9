package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap/zapcore"

	"gvlan/cluster/store/internal/folder"
	"gvlan/cluster/store/internal/zaplog"
)

const (
	// buildingDir is where a new member folder is made, and means nothing
	// after an interruption. newDir is one that is whole: it takes the place of
	// the member folder, whatever happens. oldDir is what it took the place of.
	buildingDir = "building"
	newDir      = "member.new"
	oldDir      = "member.old"

	// RevisionBump is how far apart the revisions of two lives are: beyond what is
	// written in one, so that no revision means two things.
	RevisionBump = 1_000_000_000
)

// errNoData is a data directory without a database.
var errNoData = errors.New("this host has no copy of the store")

// Renew begins a life of the store, which is higher than any before: a new cluster
// of one voter, from what this member has, voter or learner, while it is stopped.
// It is for when the majority is lost for good. What was there stays in member.old
// until the next time. When it is interrupted, either nothing has changed, or the
// next Run goes on. It returns the revision of the copy; what is written from now
// on has one that no life before had.
func Renew(dir, name, peerURL string, life int64, log *slog.Logger) (from int64, err error) {
	return replace(dir, life, log, snapshot.RestoreConfig{
		SnapshotPath:  database(dir),
		SkipHashCheck: true, // only a snapshot has one
		Name:          name,
		PeerURLs:      []string{peerURL},
	})
}

// Restore makes a new cluster of one voter from a snapshot, in place of what
// this member has, if anything, while it is stopped. As with Renew that stays in
// member.old.
func Restore(dir, name, peerURL, snapshotPath string, life int64, log *slog.Logger) (from int64, err error) {
	return replace(dir, life, log, snapshot.RestoreConfig{
		SnapshotPath: snapshotPath,
		Name:         name,
		PeerURLs:     []string{peerURL},
	})
}

// Discard removes what a member has, while it is stopped, and what Renew and
// Restore kept: it is new after, and may join a cluster.
func Discard(dir string) error {
	held, err := lock(dir)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := settle(dir); err != nil {
		return err
	}
	// In one step: half a member is damage.
	member, gone := filepath.Join(dir, memberDir), filepath.Join(dir, buildingDir)
	if exists(member) {
		err = os.Rename(member, gone)
	}
	if err = errors.Join(err, os.RemoveAll(gone), os.RemoveAll(filepath.Join(dir, oldDir))); err != nil {
		return fmt.Errorf("discard the data of the embedded etcd: %w", err)
	}
	return nil
}

func replace(dir string, life int64, log *slog.Logger, c snapshot.RestoreConfig) (from int64, err error) {
	door, err := newDoor(dir) // makes the directory, and closes it to others
	if err != nil {
		return 0, err
	}
	defer door.close()
	held, err := lock(dir)
	if err != nil {
		return 0, err
	}
	defer held.Close()
	if err := settle(dir); err != nil {
		return 0, err
	}
	if c.SkipHashCheck {
		if err := whole(c.SnapshotPath); err != nil {
			return 0, err
		}
	}
	building := filepath.Join(dir, buildingDir)
	c.OutputDataDir = building
	c.InitialCluster = c.Name + "=" + c.PeerURLs[0]
	c.InitialClusterToken = uuid.NewString() // another cluster than the one it was
	restorer := snapshot.NewV3(zaplog.New(log.With("part", "etcd"), zapcore.WarnLevel, zaplog.Level))
	err = guarded(func() error {
		status, err := restorer.Status(c.SnapshotPath)
		if err != nil {
			return err
		}
		from = status.Revision
		c.RevisionBump, c.MarkCompacted = leap(from, life), true
		return restorer.Restore(c)
	})
	if err == nil {
		err = syncTree(building)
	}
	if err == nil {
		err = os.Rename(filepath.Join(building, memberDir), filepath.Join(dir, newDir))
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("make a new store of %s: %w", c.SnapshotPath, err), os.RemoveAll(building))
	}
	return from, settle(dir)
}

// leap is how far the revision goes ahead of a copy's to be that of a life. A copy
// may be of any life before, or of this one, when its making was interrupted.
func leap(from, life int64) uint64 {
	return uint64(max(life*RevisionBump-(from-from%RevisionBump), 1))
}

// database is where a member has what is stored.
func database(dir string) string { return filepath.Join(dir, memberDir, "snap", "db") }

// whole looks at a database before it is copied.
func whole(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errNoData, err)
	}
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: %s is empty", errNoData, path)
	}
	if _, err := appliedIndex(path); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return nil
}

// settle finishes what an interrupted Renew or Restore left.
func settle(dir string) error {
	member, made, old := filepath.Join(dir, memberDir), filepath.Join(dir, newDir), filepath.Join(dir, oldDir)
	err := os.RemoveAll(filepath.Join(dir, buildingDir))
	if err == nil && exists(made) {
		if exists(member) {
			err = os.RemoveAll(old)
			if err == nil {
				err = os.Rename(member, old)
			}
		}
		if err == nil {
			err = os.Rename(made, member)
		}
		if err == nil {
			err = folder.Sync(dir)
		}
	}
	if err != nil {
		return fmt.Errorf("put the new store of the embedded etcd in place: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// syncTree writes a folder and all in it to the disk.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return folder.Sync(path)
	})
}
