package link_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
)

// TestAnswersOfAnotherVLAN: who has the address in a VLAN that is tagged on the same
// card is on another LAN. Kernels hand such frames to a socket of the card, too.
func TestAnswersOfAnotherVLAN(t *testing.T) {
	near, far := newWorld(t), newWorld(t)
	wire(t, near, far)
	if linktest.Lacks(t, near, link.VLAN) {
		return
	}
	for _, w := range []world{near, far} {
		made, err := w.EnsureVLANs(t.Context(), "eth0", []int{65}, "net")
		if err != nil {
			t.Fatal(err)
		}
		w.do(t, func() error { return w.handle.LinkSetUp(w.link(t, made.Name)) })
	}
	// Else the machine itself answers for its VLAN's address by the untagged LAN.
	far.do(t, func() error {
		return far.ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("1"), 0) })
	})
	for _, text := range []string{"192.0.2.7/24", "2001:db8::7/64"} {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD // usable at once
		far.do(t, func() error { return far.handle.AddrAdd(far.link(t, "eth0.65"), addr) })
	}
	both := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	group, ctx := errgroup.WithContext(t.Context())
	untagged, over := context.WithCancel(ctx)
	group.Go(func() error {
		defer over()
		got, err := near.ask(ctx, "eth0", both...)
		if len(got) > 0 {
			t.Errorf("untagged, %v answer, want nobody", got)
		}
		return err
	})
	group.Go(func() error {
		for untagged.Err() == nil { // the MAC address that asks is the same
			got, err := near.ask(ctx, "eth0.65", both...)
			if err != nil {
				return err
			}
			if len(got) != len(both) {
				t.Errorf("in the VLAN, %v answer, want %v", got, both)
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// arpReply is one to dst that by has addr.
func arpReply(dst, by net.HardwareAddr, addr netip.Addr) []byte {
	frame := append(append([]byte{}, dst...), by...)
	frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2)
	frame = append(append(frame, by...), addr.AsSlice()...)
	return append(append(frame, dst...), 0, 0, 0, 0)
}

// advert is a neighbor advertisement to dst that by has addr.
func advert(dst, by net.HardwareAddr, addr netip.Addr, hopLimit, option byte) []byte {
	message := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, addr.AsSlice()...)
	message = append(append(message, 2, option), by...)
	frame := append(append(append([]byte{}, dst...), by...), 0x86, 0xdd, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, 58, hopLimit)
	frame = append(append(frame, addr.AsSlice()...), addr.AsSlice()...)
	return append(frame, message...)
}

// TestWhatIsNoAnswer: only a machine of the LAN answers, not one beyond a router,
// nor a group or nobody.
func TestWhatIsNoAnswer(t *testing.T) {
	us, them := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 7}
	group, nobody := net.HardwareAddr{3, 0, 0, 0, 0, 7}, make(net.HardwareAddr, 6)
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	for _, tt := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"ARP", arpReply(us, them, v4), true},
		{"ARP to another", arpReply(them, them, v4), false},
		{"ARP of a group", arpReply(us, group, v4), false},
		{"ARP of nobody", arpReply(us, nobody, v4), false},
		{"an advertisement", advert(us, them, v6, 255, 1), true},
		{"one to another", advert(them, them, v6, 255, 1), false},
		{"one that a router passed on", advert(us, them, v6, 254, 1), false},
		{"one of a group", advert(us, group, v6, 255, 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if addr, by, ok := link.Answered(tt.frame, us); ok != tt.want {
				t.Errorf("it says that %s has %s: %t, want %t", by, addr, ok, tt.want)
			}
		})
	}
}

// TestManyAnswer: a machine that answers as many is remembered as a few.
func TestManyAnswer(t *testing.T) {
	near, far := newWorld(t), newWorld(t)
	us, _ := wire(t, near, far)
	addr := netip.MustParseAddr("192.0.2.7")
	ended := make(chan struct{})
	flood := func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: far.link(t, "eth0").Attrs().Index}
		for i := 0; ; i++ {
			select {
			case <-ended:
				return nil
			default:
			}
			by := net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)}
			if err := unix.Sendto(fd, arpReply(us.HardwareAddr, by, addr), 0, to); err != nil {
				return err
			}
		}
	}
	var group errgroup.Group
	group.Go(func() error { return far.ns.Do(flood) })
	var got map[netip.Addr][]net.HardwareAddr
	err := near.ns.Do(func() (err error) {
		defer close(ended)
		got, err = link.AnswersWithin(t.Context(), "eth0", []netip.Addr{addr, netip.MustParseAddr("192.0.2.8")}, 300*time.Millisecond)
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err != nil || len(got[addr]) < 2 || len(got[addr]) > 16 {
		t.Errorf("%d machines have the address, %v; want some, and up to 16", len(got[addr]), err)
	}
}
