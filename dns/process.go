package dns

import (
	"os"
	"path/filepath"
	"strconv"
)

// hostPIDs is the inode of the host's own PID namespace: the kernel's
// PROC_PID_INIT_INO, fixed since Linux 3.8.
const hostPIDs = 0xEFFFFFFC

// namespaces returns the inodes that show in which network namespaces there
// are processes: of ns/net, or, for a process we may not look into, of
// net/dev, which procfs gives one inode for each network namespace. It
// returns nil when /proc cannot be read. In a PID namespace of our own we may
// see none of the containers' processes.
func namespaces() map[uint64]bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	live := make(map[uint64]bool)
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		id, err := inode(filepath.Join(dir, "ns/net"))
		if err != nil {
			id, err = inode(filepath.Join(dir, "net/dev"))
		}
		if err == nil {
			live[id] = true
		}
	}
	return live
}

// seesAll tells whether we see every process of the host.
func seesAll() bool {
	own, err := inode("/proc/self/ns/pid")
	return err == nil && own == hostPIDs
}
