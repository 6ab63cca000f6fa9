package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// asker is who asks the LAN for addresses: the MAC of the interface it asks
// on. It gives no IPv4 address (an ARP probe, RFC 5227 section 2.1) and the
// link-local IPv6 one that follows from the MAC (RFC 4291 appendix A), so
// that nobody notes anything about this host's own addresses.
type asker net.HardwareAddr

const (
	arpRequest = 1
	arpReply   = 2

	solicitation  = 135 // ICMPv6, RFC 4861 section 4.3
	advertisement = 136 // section 4.4

	ethernetHeader = 14
	ipv6Header     = 40
	arpSize        = 28 // for Ethernet and IPv4
)

// arpEthernetIPv4 begins such a packet: hardware and protocol, and the
// lengths of their addresses.
var arpEthernetIPv4 = []byte{0, 1, 8, 0, 6, 4}

// question is the Ethernet frame that asks for an address.
func (a asker) question(addr netip.Addr) []byte {
	if addr.Is4() {
		return a.arp(addr)
	}
	return a.solicit(addr)
}

// answer returns the address that a frame, sent to the asker, says somebody
// has.
func (a asker) answer(frame []byte) (netip.Addr, bool) {
	if len(frame) < ethernetHeader || !bytes.Equal(frame[:6], a) {
		return netip.Addr{}, false
	}
	packet := frame[ethernetHeader:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		if len(packet) >= arpSize && bytes.HasPrefix(packet, arpEthernetIPv4) && packet[7] == arpReply {
			return netip.AddrFrom4([4]byte(packet[14:18])), true
		}
	case unix.ETH_P_IPV6:
		const target = ipv6Header + 8
		if len(packet) >= target+16 && packet[6] == unix.IPPROTO_ICMPV6 && packet[ipv6Header] == advertisement {
			return netip.AddrFrom16([16]byte(packet[target : target+16])), true
		}
	}
	return netip.Addr{}, false
}

func (a asker) ethernet(to net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(bytes.Clone(to), a...), kind)
}

func (a asker) arp(addr netip.Addr) []byte {
	frame := a.ethernet(net.HardwareAddr{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP)
	frame = append(append(frame, arpEthernetIPv4...), 0, arpRequest)
	frame = append(frame, a...)
	frame = append(frame, make([]byte, 4+6)...) // the sender's address, and the MAC in question
	return append(frame, addr.AsSlice()...)
}

// solicit asks the solicited-node address (RFC 4291 section 2.7.1) of an
// IPv6 address.
func (a asker) solicit(addr netip.Addr) []byte {
	target := addr.As16()
	from := []byte{0xfe, 0x80, 8: a[0] ^ 2, a[1], a[2], 0xff, 0xfe, a[3], a[4], a[5]}
	group := []byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}

	message := append([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	message = append(message, 1, 1) // option: the sender's MAC, in units of 8 bytes
	message = append(message, a...)
	pseudo := binary.BigEndian.AppendUint32(append(bytes.Clone(from), group...), uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(message[2:], internetChecksum(append(pseudo, message...)))

	frame := a.ethernet(net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}, unix.ETH_P_IPV6)
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, unix.IPPROTO_ICMPV6, 255) // a lower hop limit is dropped: it came by a router
	frame = append(append(frame, from...), group...)
	return append(frame, message...)
}

// internetChecksum is RFC 1071's, of an even number of bytes.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// htons swaps bytes where the host is not big-endian, as packet(7) has it.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
