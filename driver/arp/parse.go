package arp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// arpEthernetIPv4 begins an ARP packet: hardware and protocol, and the lengths of
// their addresses.
var arpEthernetIPv4 = []byte{0, 1, 8, 0, 6, 4}

// Parse reads from an Ethernet frame who says that he uses which address; ok is
// false where it says nothing of that. The MAC address is a part of the frame.
func Parse(frame []byte) (addr netip.Addr, mac net.HardwareAddr, ok bool) {
	if len(frame) < arpBegins {
		return addr, nil, false
	}
	switch binary.BigEndian.Uint16(frame[etherType:]) {
	case unix.ETH_P_ARP:
		return parseARP(frame[arpBegins:])
	case unix.ETH_P_IPV6:
		return parseAdvertisement(frame)
	}
	return addr, nil, false
}

func parseARP(packet []byte) (addr netip.Addr, mac net.HardwareAddr, ok bool) {
	if len(packet) < arpSize || !bytes.HasPrefix(packet, arpEthernetIPv4) {
		return addr, nil, false
	}
	addr, mac = netip.AddrFrom4([4]byte(packet[14:18])), net.HardwareAddr(packet[8:14])
	return addr, mac, !addr.IsUnspecified() && isOne(mac)
}

func parseAdvertisement(frame []byte) (addr netip.Addr, mac net.HardwareAddr, ok bool) {
	if len(frame) < icmp6Target+16 || frame[ip6Next] != unix.IPPROTO_ICMPV6 || frame[ip6HopLimit] != 255 || frame[icmp6] != advertisement {
		return addr, nil, false
	}
	addr, mac = netip.AddrFrom16([16]byte(frame[icmp6Target:])), net.HardwareAddr(frame[6:12])
	if option := frame[icmp6Target+16:]; len(option) >= 8 && option[0] == targetLinkAddress && option[1] == 1 {
		mac = net.HardwareAddr(option[2:8])
	}
	return addr, mac, !addr.IsUnspecified() && !addr.IsMulticast() && !addr.Is4In6() && isOne(mac)
}

// isOne reports whether a MAC address can be somebody's: none of a group, and not
// none at all.
func isOne(mac net.HardwareAddr) bool {
	return mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}
