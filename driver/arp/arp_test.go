package arp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

var (
	someone = net.HardwareAddr{2, 0x99, 0, 0, 0, 7}
	all     = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// arpFrame is an ARP frame whose sender says that he has an address.
func arpFrame(operation byte, mac net.HardwareAddr, sender netip.Addr) []byte {
	frame := append(append([]byte{}, all...), mac...)
	frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation)
	frame = append(append(frame, mac...), sender.AsSlice()...)
	return append(frame, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9)
}

// advertisementFrame is a neighbor advertisement, with the option of who has the
// target where there is one.
func advertisementFrame(kind, hopLimit byte, from, option net.HardwareAddr, target netip.Addr) []byte {
	frame := append(append([]byte{0x33, 0x33, 0, 0, 0, 1}, from...), 0x86, 0xdd)
	message := append([]byte{kind, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
	if option != nil {
		message = append(append(message, 2, 1), option...)
	}
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, 58, hopLimit)
	frame = append(frame, addr("fe80::1").AsSlice()...)
	frame = append(frame, addr("ff02::1").AsSlice()...)
	return append(frame, message...)
}

// TestWhoUsesWhat: the filter lets through what says something of the subnets, and
// what it says is read.
func TestWhoUsesWhat(t *testing.T) {
	subnets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/64")}
	other := net.HardwareAddr{2, 0x99, 0, 0, 0, 8}
	tests := []struct {
		name  string
		frame []byte
		heard bool // through the filter
		addr  string
		mac   net.HardwareAddr
	}{
		{"an announcement", arpFrame(1, someone, addr("10.0.0.7")), true, "10.0.0.7", someone},
		{"an answer", arpFrame(2, someone, addr("10.1.200.7")), true, "10.1.200.7", someone},
		{"of another subnet", arpFrame(1, someone, addr("10.0.1.7")), false, "10.0.1.7", someone},
		{"a probe", arpFrame(1, someone, addr("0.0.0.0")), false, "", nil},
		{"by a group", arpFrame(1, all, addr("10.0.0.7")), true, "", nil},
		{"by nobody", arpFrame(1, make([]byte, 6), addr("10.0.0.7")), true, "", nil},
		{"of another protocol", func() []byte {
			f := arpFrame(1, someone, addr("10.0.0.7"))
			f[16] = 9
			return f
		}(), false, "", nil},
		{"cut off", arpFrame(1, someone, addr("10.0.0.7"))[:41], true, "", nil},
		{"an advertisement", advertisementFrame(136, 255, other, someone, addr("fd00::7")), true, "fd00::7", someone},
		{"one without the option", advertisementFrame(136, 255, other, nil, addr("fd00::7")), true, "fd00::7", other},
		{"one that a router passed on", advertisementFrame(136, 254, other, someone, addr("fd00::7")), false, "", nil},
		{"a solicitation", advertisementFrame(135, 255, other, someone, addr("fd00::7")), false, "", nil},
		{"of a group", advertisementFrame(136, 255, other, someone, addr("ff02::7")), true, "", nil},
		{"IPv4", append(append(append([]byte{}, all...), someone...), 0x08, 0x00, 0x45, 0, 0, 20), false, "", nil},
	}
	vm, err := bpf.NewVM(filter(subnets))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n, err := vm.Run(test.frame)
			if err != nil {
				t.Fatal(err)
			}
			if (n > 0) != test.heard {
				t.Errorf("the filter lets %d bytes through, want some: %t", n, test.heard)
			}
			got, mac, ok := Parse(test.frame)
			if ok != (test.addr != "") || ok && (got != addr(test.addr) || mac.String() != test.mac.String()) {
				t.Errorf("it says that %s has %s, %t; want %s, %s", mac, got, ok, test.mac, test.addr)
			}
		})
	}
}

// TestManySubnets: where they are too many for a filter, all is heard.
func TestManySubnets(t *testing.T) {
	var subnets []netip.Prefix
	for i := range byte(mostPrefixes + 1) {
		subnets = append(subnets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, i, 0, 0}), 16))
	}
	vm, err := bpf.NewVM(filter(subnets))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"192.0.2.1": true, "0.0.0.0": false} {
		n, err := vm.Run(arpFrame(1, someone, addr(text)))
		if err != nil || (n > 0) != want {
			t.Errorf("%s: %d bytes, %v", text, n, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(arpFrame(1, someone, addr("10.0.0.7")))
	f.Add(advertisementFrame(136, 255, someone, someone, addr("fd00::7")))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, mac, ok := Parse(frame)
		if ok && (!got.IsValid() || got.IsUnspecified() || got.Is4In6() || len(mac) != 6 || mac[0]&1 != 0) {
			t.Errorf("%x: %s has %s", frame, mac, got)
		}
	})
}
