package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syncs counts the calls of fsync(2) and fdatasync(2) that a process makes, by
// the kernel's tracepoints: on every thread that there is, and on those that
// they start.
type syncs struct{ counters []int }

// countSyncs begins to count.
func countSyncs(pid int) (_ *syncs, err error) {
	s := new(syncs)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("count the syncs of process %d: %w", pid, err), s.close())
		}
	}()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, call := range []string{"fsync", "fdatasync"} {
		id, err := tracepoint("syscalls/sys_enter_" + call)
		if err != nil {
			return nil, err
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return nil, err
			}
			if err := s.open(id, tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *syncs) open(id uint64, tid int) error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		s.counters = append(s.counters, fd)
	}
	return err
}

// tracepoint is the number of one, from tracefs, which is mounted if need be.
func tracepoint(name string) (uint64, error) {
	const tracefs = "/sys/kernel/tracing"
	path := filepath.Join(tracefs, "events", name, "id")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil {
			return 0, fmt.Errorf("mount tracefs: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// total is how many there were so far.
func (s *syncs) total() (n uint64, err error) {
	for _, fd := range s.counters {
		var raw [8]byte
		if _, err := unix.Read(fd, raw[:]); err != nil {
			return 0, err
		}
		n += binary.NativeEndian.Uint64(raw[:])
	}
	return n, nil
}

func (s *syncs) close() (err error) {
	for _, fd := range s.counters {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}
