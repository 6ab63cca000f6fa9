package dns

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// userOf returns whose socket a client is. It must be called inside the
// sandbox.
func userOf(c client) (int, error) {
	table := "udp"
	if c.stream {
		table = "tcp"
	}
	for _, family := range []string{"", "6"} {
		file, err := os.Open("/proc/thread-self/net/" + table + family)
		if err != nil {
			continue // no IPv6
		}
		uid, ok := findUser(bufio.NewScanner(file), c)
		file.Close()
		if ok {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("no socket at %s %s", table, c)
}

// findUser looks for the client in one of the kernel's tables of sockets, see
// proc(5).
func findUser(table *bufio.Scanner, c client) (uid int, ok bool) {
	const local, state, owner = 1, 3, 7
	const timeWait = "06" // nobody's any more, and shown as root's
	addr := c.Addr().Unmap().As4()
	bound := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(addr[:])) // IPv4 in IPv6 ends like it
	port := fmt.Sprintf("%04X", c.Port())
	for table.Scan() {
		fields := strings.Fields(table.Text())
		if len(fields) <= owner || c.stream && fields[state] == timeWait {
			continue
		}
		at, p, _ := strings.Cut(fields[local], ":")
		if p != port || !strings.HasSuffix(at, bound) && strings.Trim(at, "0") != "" {
			continue
		}
		uid, err := strconv.Atoi(fields[owner])
		return uid, err == nil
	}
	return 0, false
}

// asUser runs f, which opens a socket, so that the socket is a user's: rules
// of the container that ask for the owner then judge it as that user's. The
// calling thread must be this call's own.
func asUser(uid int, f func() error) error {
	own, err := unix.SetfsuidRetUid(uid)
	if err != nil {
		return err
	}
	defer unix.SetfsuidRetUid(own)
	return f()
}
