package arp

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where things are in an Ethernet frame.
const (
	etherType   = 12
	arpBegins   = 14
	arpSender   = arpBegins + 14 // its IPv4 address
	arpSize     = 28
	ip6Begins   = 14
	ip6Next     = ip6Begins + 6
	ip6HopLimit = ip6Begins + 7
	icmp6       = ip6Begins + 40
	icmp6Target = icmp6 + 8

	// advertisement is the ICMPv6 type, RFC 4861 section 4.4.
	advertisement = 136
	// targetLinkAddress is the option, section 4.6.1.
	targetLinkAddress = 2
)

// mostPrefixes is how many subnets a filter tells apart: with more all are heard.
const mostPrefixes = 16

// taken is how much of a frame is read.
const taken = 128

// filter lets through what says that somebody uses an address of one of the
// subnets: ARP by a sender who has one, and neighbor advertisements.
func filter(subnets []netip.Prefix) []bpf.Instruction {
	var four []netip.Prefix
	for _, p := range subnets {
		if p.Addr().Is4() {
			four = append(four, p.Masked())
		}
	}
	if len(four) > mostPrefixes {
		four = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	// Each test jumps over what follows where it fails, to a program's end.
	arp := []bpf.Instruction{
		bpf.LoadAbsolute{Off: arpBegins, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x00010800, SkipTrue: 1}, // Ethernet and IPv4
		bpf.RetConstant{},
		bpf.LoadAbsolute{Off: arpSender, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, // a probe says nothing of its sender
		bpf.RetConstant{},
	}
	for _, p := range four {
		mask := ^uint32(0) << (32 - p.Bits())
		arp = append(arp,
			bpf.LoadAbsolute{Off: arpSender, Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(p.Addr().AsSlice()), SkipTrue: 1},
			bpf.RetConstant{Val: taken},
		)
	}
	arp = append(arp, bpf.RetConstant{})
	ip6 := []bpf.Instruction{
		bpf.LoadAbsolute{Off: ip6Next, Size: 2}, // and the hop limit, which a router lowers
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6<<8 | 255, SkipTrue: 1},
		bpf.RetConstant{},
		bpf.LoadAbsolute{Off: icmp6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisement, SkipTrue: 1},
		bpf.RetConstant{},
		bpf.RetConstant{Val: taken},
	}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipFalse: uint8(len(arp))},
	}
	program = append(program, arp...)
	program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 1}, bpf.RetConstant{})
	return append(program, ip6...)
}
