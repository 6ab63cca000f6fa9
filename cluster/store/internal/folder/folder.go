// Package folder brings what is in a folder onto the disk. Standard library only.
package folder

import (
	"errors"
	"fmt"
	"os"
)

// Sync has the names that were made, moved or removed in a folder on the disk when it
// returns: syncing a file does not (fsync(2)).
func Sync(path string) error {
	open, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(open.Sync(), open.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
