package lab

import (
	"encoding/binary"
	"fmt"
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
