package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeWindow is how long answers to one probe are collected. A kernel answers
// within microseconds, its macvlan after at most a scheduler's delay.
const probeWindow = 300 * time.Millisecond

// Answer is one reply to one probe.
type Answer struct {
	// Port is the bridge port the reply came in by, that is, the machine it came from.
	Port string
	// MAC is what the reply says the address is at. Two holders of one address may
	// well say the same.
	MAC net.HardwareAddr
}

// WhoHas asks the LAN once who has an address, by ARP (RFC 826) or neighbour
// solicitation (RFC 4861), and returns every answer. One holder gives one answer; two
// holders give two, also on one host and with one MAC.
func (l *Lab) WhoHas(ctx context.Context, addr netip.Addr) ([]Answer, error) {
	capture, err := packetSocket(l.LAN.Machine)
	if err != nil {
		return nil, fmt.Errorf("listen for answers: %w", err)
	}
	defer capture.Close()
	card, err := l.Peer.links.LinkByName(nic)
	if err != nil {
		return nil, fmt.Errorf("find card of %s: %w", l.Peer.Name, err)
	}
	from := newProber()
	if err := l.Peer.send(card.Attrs().Index, from.question(addr)); err != nil {
		return nil, fmt.Errorf("ask who has %s: %w", addr, err)
	}
	ports, err := l.LAN.ports()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(probeWindow)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := capture.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	return collect(capture, func(index int, frame []byte) (Answer, bool) {
		mac, ok := from.answer(addr, frame)
		return Answer{Port: ports[index], MAC: mac}, ok && ports[index] != ""
	})
}

// ports maps link indexes to names, of the links that are ports of the bridge.
func (n *LAN) ports() (map[int]string, error) {
	links, err := n.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	ports := map[int]string{}
	for _, link := range links {
		if link.Attrs().MasterIndex != 0 {
			ports[link.Attrs().Index] = link.Attrs().Name
		}
	}
	return ports, nil
}

// packetSocket opens a packet(7) socket that sees every frame of every link in the
// machine, frames that a bridge takes included.
func packetSocket(m *Machine) (*os.File, error) {
	fd := -1
	err := m.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// send puts a frame on one of the machine's links.
func (m *Machine) send(link int, frame []byte) error {
	return m.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link, Halen: 6})
	})
}

// collect reads frames that come in, until the read deadline.
func collect(capture *os.File, match func(link int, frame []byte) (Answer, bool)) ([]Answer, error) {
	conn, err := capture.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read frames: %w", err)
	}
	var answers []Answer
	buf := make([]byte, 2048)
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := conn.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(rerr, syscall.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, nil
		}
		if err = errors.Join(err, rerr); err != nil {
			return nil, fmt.Errorf("read frames: %w", err)
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if a, ok := match(ll.Ifindex, buf[:n]); ok {
			answers = append(answers, a)
		}
	}
}
