package packet_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns/netnstest"
	"gvlan/driver/packet"
)

// TestListen: what is tagged for a VLAN that this host does not have is of another
// LAN, what has a priority alone is not; and the filter is heeded.
func TestListen(t *testing.T) {
	ns, handle := netnstest.Open(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "far"}
	pair.Name = "near"
	must(handle.LinkAdd(pair))
	at := map[string]int{}
	for _, name := range []string{"near", "far"} {
		l, err := handle.LinkByName(name)
		must(err)
		must(handle.LinkSetUp(l))
		at[name] = l.Attrs().Index
	}
	frame := func(last byte, tag ...byte) []byte {
		f := append(append([]byte{}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7), tag...)
		return append(append(f, 0x08, 0x06), append(make([]byte, 45), last)...)
	}
	const filtered, final = 8, 9
	filter := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 59, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: filtered, SkipFalse: 1}, bpf.RetConstant{}, bpf.RetConstant{Val: 64},
	}
	var heard []byte
	must(ns.Do(func() error {
		s, err := packet.Listen(at["near"], unix.ETH_P_ARP, 0, filter)
		if err != nil {
			return err
		}
		defer s.Close()
		other, err := packet.Listen(at["far"], unix.ETH_P_ARP, 0, filter)
		if err != nil {
			return err
		}
		defer other.Close()
		for _, f := range [][]byte{frame(1), frame(2, 0x81, 0, 0, 65), frame(3, 0x81, 0, 0x20, 0), frame(filtered), frame(final)} {
			if _, err := other.Write(f); err != nil {
				return err
			}
		}
		if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		for in := make([]byte, 128); len(heard) == 0 || heard[len(heard)-1] != final; {
			n, err := s.Read(in)
			if err != nil {
				return err
			}
			heard = append(heard, in[n-1])
		}
		if err := other.SetReadDeadline(time.Now()); err != nil {
			return err
		}
		if _, err := other.Read(make([]byte, 128)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the sender hears %v, want nothing of its own", err)
		}
		return nil
	}))
	if diff := cmp.Diff([]byte{1, 3, final}, heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	if _, err := packet.Listen(1<<30, unix.ETH_P_ARP, 0, filter); !errors.Is(err, unix.ENODEV) {
		t.Errorf("on no interface: %v, want %v", err, unix.ENODEV)
	}
}
