package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteSysctl sets a setting of the network namespace of the calling thread:
// call it inside Do. The path is the file's below /proc/sys, as
// net/ipv6/conf/eth0/accept_ra. Where /proc/sys is read-only, as in a managed
// plugin, it is written through a procfs that is mounted nowhere.
func WriteSysctl(path, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0)
	if errors.Is(err, unix.EROFS) {
		err = writeDetached(path, value)
	}
	if err != nil {
		return fmt.Errorf("set %s to %s: %w", path, value, err)
	}
	return nil
}

// writeDetached needs Linux 5.2 and CAP_SYS_ADMIN.
func writeDetached(path, value string) error {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	proc, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	fd, err := unix.Openat(proc, "sys/"+path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}
