package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// How often a host takes a backup by itself, and how many it keeps.
const (
	Every = 24 * time.Hour
	Keep  = 7
	// firstAfter is how long a host that lacks one waits after its start: who is
	// restarted daily gets one all the same, and a start has better to do.
	firstAfter = time.Hour
	// again is the pause after one that failed, as with a full disk.
	again = time.Hour
)

// The names of daily backups sort by their time.
const (
	namePattern = "gvlan-*.tar"
	nameTime    = "gvlan-20060102T150405Z.tar"
	folderMode  = 0o700
)

// Kept is one backup of a folder.
type Kept struct {
	Path string
	Time time.Time // by its name
}

// List returns the daily backups of a folder, the newest first; none where there
// is no folder. Other files are left out.
func List(dir string) ([]Kept, error) {
	names, err := filepath.Glob(filepath.Join(dir, namePattern))
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var all []Kept
	for _, name := range names {
		if at, err := time.Parse(nameTime, filepath.Base(name)); err == nil {
			all = append(all, Kept{Path: name, Time: at})
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return b.Time.Compare(a.Time) })
	return all, nil
}

// Daily takes a backup a day while this host has a member of the store.
type Daily struct {
	Dir   string // made when the first is taken
	Take  func(ctx context.Context, path string) (Manifest, error)
	Wants func() bool // this host has a member
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) bool // false: ctx ended
	Log   *slog.Logger
}

// Run takes them until ctx ends. Nothing that fails ends it.
func (d Daily) Run(ctx context.Context) error {
	wait := firstAfter
	for d.Sleep(ctx, wait) {
		wait = d.once(ctx)
	}
	return nil
}

// once takes a backup if one is due, and returns when to look again.
func (d Daily) once(ctx context.Context) time.Duration {
	now := d.Now()
	kept, err := List(d.Dir)
	if err != nil {
		d.Log.Error("the daily backups cannot be listed: tried again in an hour", "err", err)
		return again
	}
	// One of the future is of a clock that was wrong: it says nothing.
	past := slices.DeleteFunc(slices.Clone(kept), func(k Kept) bool { return k.Time.After(now) })
	if len(past) > 0 {
		if rest := Every - now.Sub(past[0].Time); rest > 0 {
			return rest
		}
	}
	if !d.Wants() {
		return again
	}
	path := filepath.Join(d.Dir, now.UTC().Format(nameTime))
	err = os.MkdirAll(d.Dir, folderMode)
	var m Manifest
	if err == nil {
		m, err = d.Take(ctx, path)
	}
	if ctx.Err() != nil {
		return again
	}
	if err != nil {
		d.Log.Error("no backup of the store was taken: tried again in an hour", "err", err)
		return again
	}
	d.Log.Info("backup of the store taken", "file", path, "revision", m.Revision, "bytes", m.Size)
	if err := prune(d.Dir, now); err != nil {
		d.Log.Error("old backups of the store are not deleted", "err", err)
	}
	return Every
}

// prune deletes all but the newest; those of the future go first.
func prune(dir string, now time.Time) error {
	kept, err := List(dir)
	if err != nil {
		return err
	}
	slices.SortStableFunc(kept, func(a, b Kept) int {
		switch ahead := a.Time.After(now); {
		case ahead == b.Time.After(now):
			return 0
		case ahead:
			return 1
		}
		return -1
	})
	var failed error
	for _, k := range kept[min(Keep, len(kept)):] {
		if err := os.Remove(k.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
