package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// askRounds: each address is asked for so often, as RFC 5227 section 2.1.1
	// has it for probes, since frames get lost; askWait is how long answers to
	// a round are collected.
	askRounds = 3
	askWait   = 500 * time.Millisecond
)

// Ask asks the LAN at an interface who has these addresses, by ARP and by
// neighbor solicitation, and returns those that answered within 1.5 s. No holder
// without ARP does, such as ipvlan's l3 modes make. An interface that is down
// or no Ethernet device is an error: nobody was asked.
//
// It works in the network namespace of the calling thread.
func Ask(ctx context.Context, ifname string, addrs []netip.Addr) ([]netip.Addr, error) {
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("ask on %s: %w", ifname, err)
	}
	if len(iface.HardwareAddr) != 6 {
		return nil, fmt.Errorf("ask on %s: %w", ifname, ErrParentType)
	}
	var sides []*inquiry
	defer func() {
		for _, s := range sides {
			s.socket.Close()
		}
	}()
	for etherType, some := range byProtocol(addrs) {
		socket, err := packetSocket(iface.Index, etherType)
		if err != nil {
			return nil, fmt.Errorf("ask on %s: open a packet socket: %w", ifname, err)
		}
		sides = append(sides, &inquiry{socket: socket, mac: iface.HardwareAddr, addrs: some, found: map[netip.Addr]bool{}})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sides {
		group.Go(func() error { return s.run(ctx) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("ask on %s: %w", ifname, err)
	}
	var answering []netip.Addr
	for _, s := range sides {
		answering = slices.AppendSeq(answering, maps.Keys(s.found))
	}
	return answering, nil
}

// byProtocol parts addresses by the EtherType of the answers.
func byProtocol(addrs []netip.Addr) map[uint16][]netip.Addr {
	parts := map[uint16][]netip.Addr{}
	for _, addr := range addrs {
		etherType := uint16(unix.ETH_P_IPV6)
		if addr.Is4() {
			etherType = unix.ETH_P_ARP
		}
		parts[etherType] = append(parts[etherType], addr)
	}
	return parts
}

// inquiry is one interface and protocol to ask in.
type inquiry struct {
	socket *os.File
	mac    net.HardwareAddr // of the interface
	addrs  []netip.Addr
	found  map[netip.Addr]bool
}

func (q *inquiry) run(ctx context.Context) error {
	for range askRounds {
		for _, addr := range q.addrs {
			if _, err := q.socket.Write(probe(addr, q.mac)); err != nil {
				return fmt.Errorf("for %s: %w", addr, err)
			}
		}
		if err := q.listen(ctx); err != nil {
			return fmt.Errorf("listen for answers: %w", err)
		}
	}
	return nil
}

// listen notes who answers within askWait.
func (q *inquiry) listen(ctx context.Context) error {
	if err := q.socket.SetReadDeadline(time.Now().Add(askWait)); err != nil {
		return err
	}
	frame := make([]byte, 2048)
	for ctx.Err() == nil {
		n, err := q.socket.Read(frame)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if addr, ok := answered(frame[:n], q.mac); ok && slices.Contains(q.addrs, addr) {
			q.found[addr] = true
		}
	}
	return ctx.Err()
}

// packetSocket opens a packet(7) socket, which has no timers of its own: as a
// file it takes deadlines.
func packetSocket(ifindex int, etherType uint16) (*os.File, error) {
	protocol := htons(etherType)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: ifindex}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

// htons swaps bytes where the host is not big-endian, as packet(7) has it.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
