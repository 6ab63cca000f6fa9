package link

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Ethernet addresses that announcements go to.
var (
	broadcast   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} // RFC 2464 section 7, for ff02::1
)

var allNodes = netip.MustParseAddr("ff02::1")

const (
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	icmpv6            = 58 // IPv6 next header
	advertisement     = 136
	overrideFlag      = 0x20 // RFC 4861 section 4.4: replace what is cached
	targetLinkAddress = 2    // option type, RFC 4861 section 4.6.1
)

func ethernet(dst, src net.HardwareAddr, etherType uint16) []byte {
	frame := append(append([]byte{}, dst...), src...)
	return binary.BigEndian.AppendUint16(frame, etherType)
}

// arpAnnouncement is an ARP request for the sender's own address, RFC 5227
// section 3: sender and target protocol address are addr.
func arpAnnouncement(addr netip.Addr, mac net.HardwareAddr) []byte {
	frame := ethernet(broadcast, mac, etherTypeARP)
	frame = append(frame, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	frame = append(frame, mac...)
	frame = append(frame, addr.AsSlice()...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, addr.AsSlice()...)
}

// neighborAdvertisement is unsolicited, RFC 4861 section 7.2.6, from addr to
// all nodes.
func neighborAdvertisement(addr netip.Addr, mac net.HardwareAddr) []byte {
	message := []byte{advertisement, 0, 0, 0, overrideFlag, 0, 0, 0}
	message = append(message, addr.AsSlice()...)
	message = append(message, targetLinkAddress, 1) // in units of 8 bytes
	message = append(message, mac...)
	binary.BigEndian.PutUint16(message[2:], checksumICMPv6(addr, allNodes, message))

	frame := ethernet(allNodesMAC, mac, etherTypeIPv6)
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, icmpv6, 255) // receivers drop it when a router has lowered the hop limit
	frame = append(frame, addr.AsSlice()...)
	frame = append(frame, allNodes.AsSlice()...)
	return append(frame, message...)
}

// checksumICMPv6 is the checksum over RFC 8200's pseudo-header and message,
// whose own checksum is still zero and whose length is even.
func checksumICMPv6(src, dst netip.Addr, message []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(append(pseudo, 0, 0, 0, icmpv6), message...)
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
