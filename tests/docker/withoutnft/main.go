// Command withoutnft runs a program on what is, for the program, a kernel
// without nftables: a seccomp filter answers its attempts to open a netfilter
// socket as such a kernel does. Everything else on the machine, Docker's own
// rules among it, stays as it is.
//
//	withoutnft PROGRAM [ARGUMENT]...
package main

import (
	"fmt"
	"log"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: withoutnft PROGRAM [ARGUMENT]...")
	}
	log.Fatal(run(os.Args[1:]))
}

// run returns only on failure.
func run(args []string) error {
	runtime.LockOSThread() // the filter is this thread's, and exec keeps this thread's
	program := filter()
	length := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&length)), 0, 0); err != nil {
		return fmt.Errorf("install filter: %w", err)
	}
	return fmt.Errorf("run %s: %w", args[0], unix.Exec(args[0], args, os.Environ()))
}

// Offsets in struct seccomp_data, seccomp(2), of the call's number and of the
// low halves of its arguments on a little-endian machine.
const (
	callNumber    = 0
	firstArgument = 16
	thirdArgument = 32
)

// filter refuses socket(AF_NETLINK, any type, NETLINK_NETFILTER).
func filter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	answer := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	return []unix.SockFilter{
		load(callNumber), unless(unix.SYS_SOCKET, 5),
		load(firstArgument), unless(unix.AF_NETLINK, 3),
		load(thirdArgument), unless(unix.NETLINK_NETFILTER, 1),
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
}
