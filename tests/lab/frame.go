package lab

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// prober is who asks for an address: questions carry this MAC, and answers to others
// are not counted. It has no IPv4 address (an ARP probe, RFC 5227) and the link-local
// IPv6 one: a holder answers also when it has no route to the LAN's prefixes.
type prober net.HardwareAddr

// newProber makes one for a single question: on a busy machine an answer may come
// after its question was given up, and must not be counted for the next one.
func newProber() prober {
	p := make(prober, 6)
	binary.BigEndian.PutUint32(p[2:], rand.Uint32())
	p[0] = 2 // locally administered, of one station
	return p
}

// linkLocal is the address made of the MAC: RFC 4291 appendix A.
func (p prober) linkLocal() []byte {
	return []byte{0xfe, 0x80, 8: p[0] ^ 2, p[1], p[2], 0xff, 0xfe, p[3], p[4], p[5]}
}

// question is the Ethernet frame that asks for an address.
func (p prober) question(addr netip.Addr) []byte {
	if addr.Is4() {
		return p.arpRequest(addr)
	}
	return p.solicitation(addr)
}

// answer gives the MAC that a frame says the address is at, if the frame is an
// answer to the prober.
func (p prober) answer(addr netip.Addr, frame []byte) (net.HardwareAddr, bool) {
	if addr.Is4() {
		return p.arpReply(addr, frame)
	}
	return p.advertisement(addr, frame)
}

func (p prober) ethernet(to net.HardwareAddr, kind uint16) []byte {
	frame := append(bytes.Clone(to), p...)
	return binary.BigEndian.AppendUint16(frame, kind)
}

// arpHeader: Ethernet, IPv4, address lengths 6 and 4; the operation follows.
var arpHeader = [...]byte{0, 1, 8, 0, 6, 4}

func (p prober) arpRequest(addr netip.Addr) []byte {
	frame := p.ethernet(net.HardwareAddr{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP)
	frame = append(frame, arpHeader[:]...)
	frame = append(frame, 0, 1)
	frame = append(frame, p...)
	frame = append(frame, make([]byte, 4+6)...) // sender address, holder MAC: unknown
	return append(frame, addr.AsSlice()...)
}

func (p prober) arpReply(addr netip.Addr, frame []byte) (net.HardwareAddr, bool) {
	want := binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP)
	want = append(append(want, arpHeader[:]...), 0, 2)
	if len(frame) < 42 || !bytes.Equal(frame[:6], p) || !bytes.Equal(frame[12:22], want) || !bytes.Equal(frame[28:32], addr.AsSlice()) {
		return nil, false
	}
	return bytes.Clone(frame[22:28]), true
}

const (
	icmp6Solicitation  = 135
	icmp6Advertisement = 136
)

// solicitation is a neighbour solicitation to the solicited-node address: RFC 4861
// section 4.3, RFC 4291 section 2.7.1.
func (p prober) solicitation(addr netip.Addr) []byte {
	target := addr.As16()
	group := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}
	message := append([]byte{icmp6Solicitation, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	message = append(message, 1, 1) // option: source link-layer address, one unit of 8 bytes
	message = append(message, p...)
	pseudo := append(p.linkLocal(), group[:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))

	frame := p.ethernet(net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}, unix.ETH_P_IPV6)
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, unix.IPPROTO_ICMPV6, 255) // hop limit 255 proves the sender is on the link
	frame = append(frame, p.linkLocal()...)
	frame = append(frame, group[:]...)
	return append(frame, message...)
}

func (p prober) advertisement(addr netip.Addr, frame []byte) (net.HardwareAddr, bool) {
	if len(frame) < 78 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IPV6 || frame[20] != unix.IPPROTO_ICMPV6 {
		return nil, false
	}
	message := frame[54:]
	if message[0] != icmp6Advertisement || !bytes.Equal(frame[38:54], p.linkLocal()) || !bytes.Equal(message[8:24], addr.AsSlice()) {
		return nil, false
	}
	return bytes.Clone(frame[6:12]), true
}

// checksum is the Internet checksum of an even number of bytes: RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
