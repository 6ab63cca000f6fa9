package arp

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
	"gvlan/driver/packet"
)

// end is one end of a cable: an interface eth0 in a namespace of its own.
type end struct {
	t      *testing.T
	ns     *netns.Namespace
	handle *netlink.Handle
	socket int // packet(7), to send by
}

// cable lays one between two namespaces.
func cable(t *testing.T) (near, far *end) {
	t.Helper()
	near, far = newEnd(t), newEnd(t)
	near.plug(far)
	return near, far
}

func newEnd(t *testing.T) *end {
	t.Helper()
	ns, handle := netnstest.Open(t)
	e := &end{t: t, ns: ns, handle: handle, socket: -1}
	err := ns.Do(func() (err error) {
		e.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(e.socket) })
	return e
}

// plug makes the interfaces of both ends, which carry frames when it returns.
func (e *end) plug(far *end) {
	e.t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(far.ns.Fd())}
	pair.Name = "eth0"
	e.must(e.handle.LinkAdd(pair))
	for _, one := range []*end{e, far} {
		one.must(one.handle.LinkSetUp(one.card()))
	}
	for e.card().Attrs().OperState != netlink.OperUp || far.card().Attrs().OperState != netlink.OperUp {
		runtime.Gosched()
	}
}

func (e *end) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *end) card() netlink.Link {
	e.t.Helper()
	l, err := e.handle.LinkByName("eth0")
	e.must(err)
	return l
}

// send puts frames on the cable.
func (e *end) send(frames ...[]byte) {
	e.t.Helper()
	to := &unix.SockaddrLinklayer{Ifindex: e.card().Attrs().Index, Halen: 6}
	for _, frame := range frames {
		e.must(unix.Sendto(e.socket, frame, 0, to))
	}
}

// listener is a Listen under way.
type listener struct {
	mu    sync.Mutex
	all   map[string]string // the last who used an address
	count int
	ended chan error
}

// listens has the subnets of the tests listened for.
func (e *end) listens() (l *listener, stop func() error) {
	l = &listener{all: map[string]string{}, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(e.t.Context())
	e.t.Cleanup(cancel)
	subnets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64")}
	go func() {
		l.ended <- e.ns.Do(func() error {
			return Listen(ctx, "eth0", subnets, func() {}, func(addr netip.Addr, mac net.HardwareAddr) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.all[addr.String()] = mac.String()
				l.count++
			})
		})
	}()
	return l, func() error {
		cancel()
		return <-l.ended
	}
}

// after has somebody use two addresses until both are heard of, and returns all that
// was, as often as it was: what was sent before is among it, or was not heard.
func (l *listener) after(from *end, four, six string) (all map[string]string, count int) {
	from.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		from.send(arpFrame(1, someone, addr(four)), advertisementFrame(136, 255, someone, someone, addr(six)))
		l.mu.Lock()
		if l.all[four] != "" && l.all[six] != "" {
			break
		}
		l.mu.Unlock()
		if time.Now().After(deadline) {
			from.t.Fatalf("it is not heard who has %s and %s", four, six)
		}
	}
	defer l.mu.Unlock()
	all, count = l.all, l.count
	l.all, l.count = map[string]string{}, 0
	return all, count
}

// tagged puts a frame into a VLAN, which is another LAN.
func tagged(frame []byte) []byte {
	return slices.Insert(slices.Clone(frame), 12, 0x81, 0, 0, 65)
}

// TestListen hears on a real interface what others say, of either family, and
// nothing else; also where that was down for a while.
func TestListen(t *testing.T) {
	near, far := cable(t)
	l, stop := near.listens()
	l.after(far, "10.0.0.6", "fd00::6")
	for range 2 {
		far.send(arpFrame(1, someone, addr("10.99.0.9")), arpFrame(1, someone, addr("0.0.0.0")), advertisementFrame(135, 255, someone, someone, addr("fd00::9")))
		far.send(tagged(arpFrame(1, someone, addr("10.0.0.65"))), tagged(advertisementFrame(136, 255, someone, someone, addr("fd00::65"))))
		near.send(arpFrame(1, someone, addr("10.0.0.9")))
		got, _ := l.after(far, "10.0.0.7", "fd00::7")
		delete(got, "10.0.0.6") // of before, once more
		delete(got, "fd00::6")
		if want := map[string]string{"10.0.0.7": someone.String(), "fd00::7": someone.String()}; !maps.Equal(got, want) {
			t.Errorf("it hears %v, want %v", got, want)
		}
		near.must(near.handle.LinkSetDown(near.card()))
		near.must(near.handle.LinkSetUp(near.card()))
		l.after(far, "10.0.0.6", "fd00::6")
	}
	if err := stop(); err != nil {
		t.Errorf("told to stop it says %v", err)
	}
}

// TestListenEndsWithTheInterface, so that it may begin on the next one of its name.
func TestListenEndsWithTheInterface(t *testing.T) {
	near, far := cable(t)
	for range 2 {
		l, _ := near.listens()
		l.after(far, "10.0.0.7", "fd00::7")
		near.must(near.handle.LinkDel(near.card()))
		select {
		case err := <-l.ended:
			if err != nil {
				t.Errorf("it says %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it listens on an interface that is no more")
		}
		near.plug(far)
	}
}

// TestAnEndAfterWhatWaited: frames that waited since before an interface went down are
// read after that was told; its end is noticed all the same.
func TestAnEndAfterWhatWaited(t *testing.T) {
	near, far := cable(t)
	at := netip.MustParseAddr("10.0.0.7")
	var s *os.File
	near.must(near.ns.Do(func() (err error) {
		s, err = packet.Listen(near.card().Attrs().Index, unix.ETH_P_ARP, waiting, filter([]netip.Prefix{netip.PrefixFrom(at, 24)}))
		return err
	}))
	defer s.Close()
	far.send(arpFrame(1, net.HardwareAddr{2, 0x98, 0, 0, 0, 1}, at))
	near.must(near.handle.LinkSetDown(near.card()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.SetReadDeadline(time.Unix(1, 0)) })()
	heard := false
	err := read(ctx, s, func(netip.Addr, net.HardwareAddr) {
		heard = true
		near.must(near.handle.LinkDel(near.card()))
	})
	if !heard || !errors.Is(err, errGone) {
		t.Errorf("a frame that waited is heard: %v, then %v, want %v", heard, err, errGone)
	}
}

// TestAFloodIsHeardInPart: of many frames by as many MAC addresses no more are looked
// at than is said, and what comes after them is heard.
func TestAFloodIsHeardInPart(t *testing.T) {
	near, far := cable(t)
	l, _ := near.listens()
	l.after(far, "10.0.0.7", "fd00::7")
	began := time.Now()
	for i := range 20_000 {
		mac := net.HardwareAddr{2, 0x98, 0, 0, byte(i >> 8), byte(i)}
		far.send(arpFrame(1, mac, netip.AddrFrom4([4]byte{10, 0, 1 + byte(i>>8), byte(i)})))
	}
	_, count := l.after(far, "10.0.0.8", "fd00::8")
	rounds := 2 + int(time.Since(began)/round) // of two sockets
	if count < mostFrames/2 || count > 2*mostFrames*rounds {
		t.Errorf("of the flood %d frames are heard in %d rounds, want at most %d a round and socket", count, rounds, mostFrames)
	}
}
