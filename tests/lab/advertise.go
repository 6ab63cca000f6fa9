package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	icmp6RouterAdvertisement = 134
	// advertisedFor is how long what a router advertises lasts.
	advertisedFor = 30 * time.Minute
)

// Advertise has a machine say once on the LAN that it is a router, and that
// every host there may make itself an address of a prefix, as radvd does (RFC
// 4861 section 4.2). It routes nothing.
func (n *LAN) Advertise(m *Machine, prefix netip.Prefix) error {
	card, err := m.links.LinkByName(nic)
	if err != nil {
		return fmt.Errorf("find card of %s: %w", m.Name, err)
	}
	router := prober(card.Attrs().HardwareAddr)
	if err := m.send(card.Attrs().Index, router.advertise(prefix)); err != nil {
		return fmt.Errorf("advertise %s: %w", prefix, err)
	}
	return nil
}

// advertise is a router advertisement to all nodes.
func (p prober) advertise(prefix netip.Prefix) []byte {
	lifetime := uint32(advertisedFor / time.Second)
	message := []byte{icmp6RouterAdvertisement, 0, 0, 0, 64, 0}
	message = binary.BigEndian.AppendUint16(message, uint16(lifetime))
	message = append(message, make([]byte, 8)...) // times that this router does not say
	message = append(message, 1, 1)               // option: source link-layer address
	message = append(message, p...)
	message = append(message, 3, 4, byte(prefix.Bits()), 0xc0) // option: prefix, on link and for addresses
	message = binary.BigEndian.AppendUint32(message, lifetime)
	message = binary.BigEndian.AppendUint32(message, lifetime)
	message = append(message, make([]byte, 4)...)
	message = append(message, prefix.Addr().AsSlice()...)

	allNodes := [16]byte{0: 0xff, 1: 2, 15: 1}
	frame := p.ethernet([]byte{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6)
	return p.ndp(frame, allNodes, message)
}

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
