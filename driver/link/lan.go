package link

import (
	"bytes"
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

	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gvlan/driver/packet"
)

// Announce tells the LAN once that addr is at the interface: by an ARP
// announcement (RFC 5227) or an unsolicited neighbor advertisement (RFC 4861),
// so that neighbors and switches forget who had the address before. Engines
// from 28 on do this themselves.
//
// It works in the network namespace of the calling thread: call it inside
// netns.Do. The interface must be up. One without ARP, such as ipvlan's l3
// modes make, has nobody to tell: nothing is sent.
func Announce(ifname string, addr netip.Addr) error {
	if err := announce(ifname, addr.Unmap()); err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, ifname, err)
	}
	return nil
}

// AnnounceHere is Announce at the interface that has the address. The error wraps
// ErrNotFound where none that is up has it.
func AnnounceHere(addr netip.Addr) error {
	name, err := Holder(addr)
	if err != nil {
		return err
	}
	return Announce(name, addr)
}

func announce(ifname string, addr netip.Addr) error {
	iface, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if silent, err := noARP(fd, ifname); silent || err != nil {
		return err
	}
	frame := arpAnnouncement(addr, iface.HardwareAddr)
	if addr.Is6() {
		frame = neighborAdvertisement(addr, iface.HardwareAddr)
	}
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: iface.Index})
}

// noARP reads IFF_NOARP, which package net does not show.
func noARP(fd int, ifname string) (bool, error) {
	request, err := unix.NewIfreq(ifname)
	if err != nil {
		return false, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return false, err
	}
	return request.Uint16()&unix.IFF_NOARP != 0, nil
}

const (
	// askRounds: each address is asked for so often, as RFC 5227 section 2.1.1
	// has it for probes, since frames get lost.
	askRounds = 3
	// askPatience is how long answers are waited for where nobody is in a hurry.
	askPatience = 1500 * time.Millisecond
)

// Ask asks the LAN at an interface who has these addresses, as Answers does, and
// returns those that answered.
func Ask(ctx context.Context, ifname string, addrs []netip.Addr) ([]netip.Addr, error) {
	answers, err := Answers(ctx, ifname, addrs)
	return slices.Collect(maps.Keys(answers)), err
}

// Answers asks the LAN at an interface who has these addresses, by ARP and by
// neighbor solicitation, and returns the hardware addresses that answered for
// each: several where an address is in use twice. It listens for 1.5 s, or until
// every address was answered for and the others had half a second to answer. No
// holder without ARP does, such as ipvlan's l3 modes make. An interface that is
// down or no Ethernet device is an error: nobody was asked.
//
// It works in the network namespace of the calling thread.
func Answers(ctx context.Context, ifname string, addrs []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error) {
	return AnswersWithin(ctx, ifname, addrs, askPatience)
}

// AnswersWithin is Answers with another patience than 1.5 s: a third of it lies
// between two questions for an address.
func AnswersWithin(ctx context.Context, ifname string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
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
		socket, err := packet.Listen(iface.Index, etherType, 0, answers(etherType))
		if err != nil {
			return nil, fmt.Errorf("ask on %s: open a packet socket: %w", ifname, err)
		}
		sides = append(sides, &inquiry{socket: socket, mac: iface.HardwareAddr, addrs: some, wait: patience / askRounds, found: map[netip.Addr][]net.HardwareAddr{}})
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sides {
		group.Go(func() error { return s.run(ctx) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("ask on %s: %w", ifname, err)
	}
	answers := map[netip.Addr][]net.HardwareAddr{}
	for _, s := range sides {
		maps.Copy(answers, s.found)
	}
	return answers, nil
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
	wait   time.Duration // for answers to a round
	found  map[netip.Addr][]net.HardwareAddr
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
		if len(q.found) == len(q.addrs) {
			return nil
		}
	}
	return nil
}

// listen notes who answers to a round.
func (q *inquiry) listen(ctx context.Context) error {
	if err := q.socket.SetReadDeadline(time.Now().Add(q.wait)); err != nil {
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
		if addr, by, ok := answered(frame[:n], q.mac); ok && slices.Contains(q.addrs, addr) {
			q.note(addr, by)
		}
	}
	return ctx.Err()
}

// mostHolders is how many who answer for one address are told: who answers as ever
// others costs no more.
const mostHolders = 16

// note enters an answer.
func (q *inquiry) note(addr netip.Addr, by net.HardwareAddr) {
	same := func(had net.HardwareAddr) bool { return bytes.Equal(had, by) }
	if len(q.found[addr]) < mostHolders && !slices.ContainsFunc(q.found[addr], same) {
		q.found[addr] = append(q.found[addr], bytes.Clone(by))
	}
}

// Ethernet addresses of more than one receiver.
var (
	broadcast   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} // RFC 2464 section 7, for ff02::1
)

var allNodes = netip.MustParseAddr("ff02::1")

const (
	ethernetHeader = 14 // bytes
	arpSize        = 28 // for Ethernet and IPv4
	ipv6Header     = 40

	arpReply          = 2
	solicitation      = 135  // ICMPv6, RFC 4861 section 4.3
	advertisement     = 136  // section 4.4
	hopLimit          = 255  // who receives less drops it: a router passed it on
	overrideFlag      = 0x20 // section 4.4: replace what is cached
	sourceLinkAddress = 1    // option types, section 4.6.1
	targetLinkAddress = 2
)

// arpEthernetIPv4 begins an ARP packet: hardware and protocol, and the lengths
// of their addresses.
var arpEthernetIPv4 = []byte{0, 1, 8, 0, 6, 4}

func ethernet(dst, src net.HardwareAddr, etherType uint16) []byte {
	frame := append(append([]byte{}, dst...), src...)
	return binary.BigEndian.AppendUint16(frame, etherType)
}

// arpRequest asks everybody for addr in the name of sender.
func arpRequest(addr, sender netip.Addr, mac net.HardwareAddr) []byte {
	frame := ethernet(broadcast, mac, unix.ETH_P_ARP)
	frame = append(append(frame, arpEthernetIPv4...), 0, 1)
	frame = append(frame, mac...)
	frame = append(frame, sender.AsSlice()...)
	frame = append(frame, 0, 0, 0, 0, 0, 0)
	return append(frame, addr.AsSlice()...)
}

// arpAnnouncement is an ARP request for the sender's own address, RFC 5227
// section 3.
func arpAnnouncement(addr netip.Addr, mac net.HardwareAddr) []byte {
	return arpRequest(addr, addr, mac)
}

// neighborAdvertisement is unsolicited, RFC 4861 section 7.2.6, from addr to
// all nodes.
func neighborAdvertisement(addr netip.Addr, mac net.HardwareAddr) []byte {
	message := []byte{advertisement, 0, 0, 0, overrideFlag, 0, 0, 0}
	message = append(message, addr.AsSlice()...)
	message = append(message, targetLinkAddress, 1) // in units of 8 bytes
	message = append(message, mac...)
	return ndp(ethernet(allNodesMAC, mac, unix.ETH_P_IPV6), addr, allNodes, message)
}

// probe asks who has addr, in a way that lets nobody note anything about this
// host's own addresses: an ARP probe from no address (RFC 5227 section 2.1), or
// a solicitation from the link-local address that follows from the MAC (RFC
// 4291 appendix A), to the solicited-node address (section 2.7.1).
func probe(addr netip.Addr, mac net.HardwareAddr) []byte {
	if addr.Is4() {
		return arpRequest(addr, netip.IPv4Unspecified(), mac)
	}
	target := addr.As16()
	message := append([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	message = append(message, sourceLinkAddress, 1)
	message = append(message, mac...)
	sender := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]})
	groupMAC := net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}
	return ndp(ethernet(groupMAC, mac, unix.ETH_P_IPV6), sender, group, message)
}

// answers is a filter that lets through the answers of one protocol: a host may hear
// much IPv6 besides, and what is in its way is lost.
func answers(etherType uint16) []bpf.Instruction {
	if etherType == unix.ETH_P_ARP {
		return only(bpf.LoadAbsolute{Off: ethernetHeader + 6, Size: 2}, arpReply)
	}
	return append(
		only(bpf.LoadAbsolute{Off: ethernetHeader + 6, Size: 1}, unix.IPPROTO_ICMPV6)[:3],
		only(bpf.LoadAbsolute{Off: ethernetHeader + ipv6Header, Size: 1}, advertisement)...,
	)
}

// only lets through frames that have a value somewhere.
func only(load bpf.LoadAbsolute, value uint32) []bpf.Instruction {
	const whole = 1 << 16
	return []bpf.Instruction{load, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1}, bpf.RetConstant{}, bpf.RetConstant{Val: whole}}
}

// answered returns the address that a frame to mac says somebody has, and that
// one's hardware address, which is a part of the frame.
func answered(frame []byte, mac net.HardwareAddr) (addr netip.Addr, by net.HardwareAddr, ok bool) {
	if len(frame) < ethernetHeader || !bytes.Equal(frame[:6], mac) {
		return netip.Addr{}, nil, false
	}
	packet := frame[ethernetHeader:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		if len(packet) >= arpSize && bytes.HasPrefix(packet, arpEthernetIPv4) && packet[7] == arpReply {
			addr, by = netip.AddrFrom4([4]byte(packet[14:18])), packet[8:14]
		}
	case unix.ETH_P_IPV6:
		const target = ipv6Header + 8
		if len(packet) >= target+16 && packet[6] == unix.IPPROTO_ICMPV6 && packet[7] == hopLimit && packet[ipv6Header] == advertisement {
			addr, by = netip.AddrFrom16([16]byte(packet[target:target+16])), frame[6:12]
			if option := packet[target+16:]; len(option) >= 8 && option[0] == targetLinkAddress && option[1] == 1 {
				by = option[2:8]
			}
		}
	}
	// A group is nobody, and neither are zeros.
	if !addr.IsValid() || by[0]&1 != 0 || bytes.Equal(by, make([]byte, 6)) {
		return netip.Addr{}, nil, false
	}
	return addr, by, true
}

// ndp appends an IPv6 packet with a neighbor discovery message, whose checksum
// it fills in, to an Ethernet header.
func ndp(frame []byte, src, dst netip.Addr, message []byte) []byte {
	binary.BigEndian.PutUint16(message[2:], checksumICMPv6(src, dst, message))
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, unix.IPPROTO_ICMPV6, hopLimit)
	frame = append(frame, src.AsSlice()...)
	frame = append(frame, dst.AsSlice()...)
	return append(frame, message...)
}

// checksumICMPv6 is the checksum over RFC 8200's pseudo-header and message,
// whose own checksum is still zero and whose length is even.
func checksumICMPv6(src, dst netip.Addr, message []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6), message...)
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
