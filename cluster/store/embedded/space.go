package embedded

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrNoSpace is returned by Run when the disk of the data directory is full, or
// so nearly that etcd would end half-way. Run works again once there is room.
var ErrNoSpace = errors.New("the disk of the embedded etcd is full")

const (
	// FullBelow is how much room a member needs to go on, in bytes. Its database
	// grows in steps of up to 16 MiB, and ends in order with one more write: twice
	// that is left then. What it writes ahead is allocated before.
	FullBelow = 32 << 20
	// RoomFrom is how much it needs to start: its write-ahead log allocates the
	// next 64 MiB at once, and must not be at FullBelow again by that.
	RoomFrom = 64<<20 + FullBelow
	// lookAtSpace is how often the disk is looked at: at 30 MB/s, which is what
	// small disks write, nobody fills what is left in between.
	lookAtSpace = time.Second
)

// Space is how many bytes are free for files in a folder. The agent is root, for
// whom file systems keep some back.
func Space(dir string) (free int64, err error) {
	var at syscall.Statfs_t
	if err := syscall.Statfs(dir, &at); err != nil {
		return 0, fmt.Errorf("ask how much room is left for %s: %w", dir, err)
	}
	return int64(at.Bfree) * at.Bsize, nil
}

// enough is ErrNoSpace with the cure when less than that is free in the folder.
func (c Config) enough(least int64) error {
	free, err := c.Space(c.Dir)
	if err != nil {
		return nil //nolint:nilerr // a folder that cannot be asked is judged by what happens in it
	}
	if free >= least {
		return nil
	}
	return noSpace(c.Dir, fmt.Errorf("%d MiB are free, and it needs %d", free>>20, least>>20))
}

func noSpace(dir string, what error) error {
	return fmt.Errorf("%w: %s: %w: make room on it", ErrNoSpace, dir, what)
}

// awaitFull returns ErrNoSpace when the disk gets full, and nil when ctx ends.
func (c Config) awaitFull(ctx context.Context) error {
	tick := time.NewTicker(lookAtSpace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.enough(FullBelow); err != nil {
			return err
		}
	}
}
