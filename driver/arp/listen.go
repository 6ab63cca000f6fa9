package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gvlan/driver/packet"
)

// A flood is heard by as many frames as these: the socket drops what waits
// behind them.
const (
	mostFrames = 500 // in a round
	round      = 250 * time.Millisecond
	waiting    = 64 << 10 // bytes that a socket keeps

	// downFor is how often it is looked whether an interface that ever went down is
	// gone.
	downFor = time.Second
)

// Listen hears who uses an address of some subnets on an interface, until ctx ends
// or the interface does. It calls begun when nothing is missed from then on.
func Listen(ctx context.Context, ifname string, subnets []netip.Prefix, begun func(), heard func(netip.Addr, net.HardwareAddr)) error {
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return fmt.Errorf("listen for ARP on %s: %w", ifname, err)
	}
	var sockets []*os.File
	defer func() {
		for _, s := range sockets {
			_ = s.Close() // it was only read
		}
	}()
	for protocol, has := range map[uint16]bool{unix.ETH_P_ARP: has(subnets, netip.Addr.Is4), unix.ETH_P_IPV6: has(subnets, netip.Addr.Is6)} {
		if !has {
			continue
		}
		s, err := packet.Listen(iface.Index, protocol, waiting, filter(subnets))
		if err != nil {
			return fmt.Errorf("listen for ARP on %s: %w", ifname, err)
		}
		sockets = append(sockets, s)
	}
	begun()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sockets {
		stop := context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) }) // wakes its reader
		defer stop()
		group.Go(func() error { return read(ctx, s, heard) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("listen for ARP on %s: %w", ifname, err)
	}
	return nil
}

func has(subnets []netip.Prefix, family func(netip.Addr) bool) bool {
	for _, p := range subnets {
		if family(p.Addr()) {
			return true
		}
	}
	return false
}

// errGone ends reading from a socket whose interface is no more: it would hear
// nothing for ever, also where there is another interface of that name.
var errGone = errors.New("the interface is no more")

// gone reports whether the interface that a socket is bound to is no more, as
// packet(7) tells.
func gone(s *os.File) (is bool) {
	conn, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Control(func(fd uintptr) {
		at, err := unix.Getsockname(int(fd))
		link, ok := at.(*unix.SockaddrLinklayer)
		is = err == nil && ok && link.Ifindex < 0
	})
	return is && err == nil
}

// read tells what a socket hears, and no more of it in a round than is worth
// hearing.
func read(ctx context.Context, s *os.File, heard func(netip.Addr, net.HardwareAddr)) error {
	frame := make([]byte, taken)
	for frames, began := 0, time.Now(); ; frames++ {
		if frames == mostFrames {
			if left := round - time.Since(began); left > 0 {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(left):
				}
			}
			frames, began = 0, time.Now()
		}
		n, err := s.Read(frame)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, os.ErrDeadlineExceeded):
			// It went down, which is told once, and may be gone a moment later, which is not.
			// It is looked for ever after: a frame read since may have waited from before.
			if gone(s) {
				return errGone
			}
			err = s.SetReadDeadline(time.Now().Add(downFor))
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil { // its end set a deadline too, perhaps before this one
			return nil
		}
		if addr, mac, ok := Parse(frame[:n]); ok {
			heard(addr, mac)
		}
	}
}
