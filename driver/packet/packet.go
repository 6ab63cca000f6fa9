// Package packet opens packet(7) sockets that hear one interface alone, through a
// filter in the kernel.
//
// The kernel hands a socket of a card also what reached one of the card's VLANs, its
// tag taken off, and what is tagged for a VLAN that the host does not have: each is
// of another LAN, where others have the same addresses. And a socket hears all
// interfaces between its making and its binding, unless it is made for no protocol.
package packet

import (
	"encoding/binary"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// own lets through what is of the interface itself, and goes on with what follows.
func own(ifindex int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex}, // of a VLAN's frame: the VLAN's
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ifindex), SkipTrue: 1},
		bpf.RetConstant{},
		bpf.LoadExtension{Num: bpf.ExtType}, // of a VLAN that nobody has: another host's
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1},
		bpf.RetConstant{},
	}
}

// Listen opens a socket that hears what an interface receives of a protocol (an
// EtherType) and the filter lets through, and keeps so many bytes that wait (0: as
// the kernel does). It sends by that interface. As a file it takes deadlines.
func Listen(ifindex int, protocol uint16, waiting int, filter []bpf.Instruction) (*os.File, error) {
	program, err := bpf.Assemble(append(own(ifindex), filter...))
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
	if err == nil && waiting != 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, waiting)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: Order(protocol), Ifindex: ifindex})
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was read
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

// Order gives a protocol in the order of bytes that packet(7) has it in.
func Order(protocol uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
}
