package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// aBurst and betweenBursts make about 5,000 frames a second: twice as many as an
	// agent looks at, and few enough for the other labs of this computer.
	aBurst        = 50
	betweenBursts = 10 * time.Millisecond
)

// Flood has a machine say on the LAN, until ctx ends, that somebody uses addresses of
// an IPv4 subnet, each time another one by another MAC address, and returns how many
// frames that were.
func (n *LAN) Flood(ctx context.Context, m *Machine, subnet netip.Prefix) (frames int, err error) {
	card, err := m.links.LinkByName(nic)
	if err != nil {
		return 0, fmt.Errorf("find card of %s: %w", m.Name, err)
	}
	fd := -1
	err = m.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("open packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: card.Attrs().Index, Halen: 6}
	tick := time.NewTicker(betweenBursts)
	defer tick.Stop()
	for {
		for range aBurst {
			if err := unix.Sendto(fd, newProber().claim(anyOf(subnet)), 0, to); err != nil {
				return frames, fmt.Errorf("flood the LAN: %w", err)
			}
			frames++
		}
		select {
		case <-ctx.Done():
			return frames, nil
		case <-tick.C:
		}
	}
}

// anyOf is an address of an IPv4 subnet of at least eight bits for hosts.
func anyOf(subnet netip.Prefix) netip.Addr {
	at := subnet.Masked().Addr().As4()
	at[3] = byte(rand.Uint32())
	return netip.AddrFrom4(at)
}

// claim is a gratuitous ARP frame: whoever sends it uses the address (RFC 5227
// section 2.3).
func (p prober) claim(addr netip.Addr) []byte {
	frame := p.arpRequest(addr)
	copy(frame[28:], addr.AsSlice())
	return frame
}
