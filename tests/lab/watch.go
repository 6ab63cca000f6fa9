package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// probeEvery is how often a watcher asks for each of its addresses.
	probeEvery = 20 * time.Millisecond
	// probers is how many MACs a watcher asks with, in turn: an answer that comes
	// up to 1.28 s late still counts for the question that it answers. More would
	// fill the neighbour tables of holders, which all machines here share.
	probers = 64
	// watchBuffer holds what comes while nobody reads, some 30,000 frames.
	watchBuffer = 16 << 20
)

// Watcher records at the ports of the LAN's bridge who says that it has which
// address, from Watch to Stop, and asks for some addresses all the time:
//
//	w := l.LAN.Watch(t, addr)
//	... move the address from one host to another ...
//	seen := w.Stop(t)
//	if err := seen.OneHolder(addr); err != nil {
//		t.Error(err)
//	}
//	t.Log(seen.Handovers(addr)) // each with its gap
//
// It asks from the bridge itself, so that every machine is asked, the peer
// among them; who is behind several links (a host and its containers) is known
// by MAC. Times are those of the kernel, when a frame came.
type Watcher struct {
	lan     *LAN
	capture *os.File
	ask     *os.File
	bridge  int
	ports   map[int]string
	probers [probers]prober
	addrs   []netip.Addr

	stop   context.CancelFunc
	end    sync.Once
	asking sync.WaitGroup
	read   chan error
	failed error // once it ended

	mu   sync.Mutex
	seen Seen
	last map[lastProbe]int // number of the latest probe
}

// lastProbe is whose question for what: one MAC asks for several addresses.
type lastProbe struct {
	by   [6]byte
	addr netip.Addr
}

// Watch begins to record who has which address, and asks for some of them
// every 20 ms. It ends with the test if Stop does not end it before.
func (n *LAN) Watch(t testing.TB, addrs ...netip.Addr) *Watcher {
	t.Helper()
	w, err := n.StartWatch(addrs...)
	if err != nil {
		t.Fatalf("watch the LAN: %v", err)
	}
	t.Cleanup(func() { _, _ = w.End() })
	return w
}

// StartWatch is Watch for who has no test.
func (n *LAN) StartWatch(addrs ...netip.Addr) (*Watcher, error) {
	w := &Watcher{lan: n, addrs: addrs, read: make(chan error, 1), last: map[lastProbe]int{}}
	for i := range w.probers {
		w.probers[i] = newProber()
	}
	on, err := n.links.LinkByName(bridge)
	if err != nil {
		return nil, fmt.Errorf("find the bridge: %w", err)
	}
	w.bridge = on.Attrs().Index
	if w.ports, err = n.ports(); err != nil {
		return nil, err
	}
	if w.capture, err = packetSocket(n.Machine); err != nil {
		return nil, fmt.Errorf("listen to the LAN: %w", err)
	}
	if w.ask, err = packetSocket(n.Machine); err != nil {
		w.capture.Close()
		return nil, fmt.Errorf("ask the LAN: %w", err)
	}
	if err := errors.Join(control(w.capture, hearClaims), control(w.ask, hearNothing)); err != nil {
		w.capture.Close()
		w.ask.Close()
		return nil, fmt.Errorf("listen to the LAN: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.read <- w.listen() }()
	w.asking.Go(func() { w.probe(ctx) })
	return w, nil
}

// Seen is what was seen so far.
func (w *Watcher) Seen() Seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.clone()
}

// End is Stop for who has no test. It waits for the answers to the last
// questions; frames that were lost are an error, since a holder may be among
// them.
func (w *Watcher) End() (Seen, error) {
	w.end.Do(func() {
		w.stop()
		w.asking.Wait()
		late := w.capture.SetReadDeadline(time.Now().Add(probeWindow))
		w.failed = errors.Join(late, <-w.read, w.lost())
		w.ask.Close()
		w.capture.Close()
	})
	return w.Seen(), w.failed
}

// lost is an error when frames came that were not recorded.
func (w *Watcher) lost() error {
	return control(w.capture, func(fd int) error {
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil && stats.Drops > 0 {
			err = fmt.Errorf("%d frames of the LAN were not seen", stats.Drops)
		}
		return err
	})
}

// probe asks for each address until ctx ends.
func (w *Watcher) probe(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for round := 0; ; round++ {
		by := w.probers[round%probers]
		for _, addr := range w.addrs {
			err := control(w.ask, func(fd int) error {
				return unix.Sendto(fd, by.question(addr), 0, &unix.SockaddrLinklayer{Ifindex: w.bridge, Halen: 6})
			})
			if err != nil {
				w.mu.Lock()
				w.seen.unasked++
				w.mu.Unlock()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listen reads frames until the capture's deadline.
func (w *Watcher) listen() error {
	conn, err := w.capture.SyscallConn()
	if err != nil {
		return err
	}
	frame, control := make([]byte, 2048), make([]byte, 256)
	for {
		var n, oob int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, oob, _, from, failed = unix.Recvmsg(int(fd), frame, control, 0)
			return !errors.Is(failed, syscall.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err := errors.Join(err, failed); err != nil {
			return fmt.Errorf("read frames: %w", err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok {
			w.take(link, when(control[:oob]), frame[:n])
		}
	}
}

// take records a frame: a question of the watcher's own as it leaves the
// bridge, a claim as it comes in by a port.
func (w *Watcher) take(link *unix.SockaddrLinklayer, at time.Time, frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if link.Pkttype == unix.PACKET_OUTGOING {
		addr, by, ok := asked(frame)
		if ok && link.Ifindex == w.bridge && slices.ContainsFunc(w.probers[:], func(p prober) bool { return bytes.Equal(p, by[:]) }) {
			w.last[lastProbe{by, addr}] = w.seen.asked(addr, at)
		}
		return
	}
	port := w.ports[link.Ifindex]
	if port == "" {
		return
	}
	c, ok := claim(frame)
	if !ok {
		return
	}
	c.At, c.Port = at, port
	if c.Kind == Reply || c.Kind == Advertisement {
		c.Probe = w.last[lastProbe{[6]byte(frame[:6]), c.Addr}]
	}
	w.seen.Claims = append(w.seen.Claims, c)
}

// control does something with a file's descriptor.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

// hearClaims has a packet socket hear ARP and neighbour discovery only, with
// the time of each frame.
func hearClaims(fd int) error {
	return errors.Join(
		attach(fd,
			bpf.LoadAbsolute{Off: 12, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 6},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 4},
			bpf.LoadAbsolute{Off: 20, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 2},
			bpf.LoadAbsolute{Off: 54, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: icmp6Solicitation, SkipTrue: 1},
			bpf.RetConstant{Val: 0},
			bpf.RetConstant{Val: 2048},
		),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
	)
}

// hearNothing is for a socket that only sends.
func hearNothing(fd int) error { return attach(fd, bpf.RetConstant{Val: 0}) }

func attach(fd int, program ...bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// when is the time that the kernel put beside a frame.
func when(control []byte) time.Time {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		if m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

// asked reads a frame as a prober's question.
func asked(frame []byte) (addr netip.Addr, by [6]byte, ok bool) {
	switch {
	case isARP(frame) && frame[21] == 1:
		addr, _ = netip.AddrFromSlice(frame[38:42])
	case isDiscovery(frame) && frame[54] == icmp6Solicitation:
		addr, _ = netip.AddrFromSlice(frame[62:78])
	default:
		return netip.Addr{}, by, false
	}
	return addr, [6]byte(frame[6:12]), true
}

func isARP(frame []byte) bool {
	return len(frame) >= 42 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP && bytes.Equal(frame[14:20], arpHeader[:])
}

// isDiscovery is for frames whose message stands right behind the header, as
// every kernel's does.
func isDiscovery(frame []byte) bool {
	return len(frame) >= 78 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 && frame[20] == unix.IPPROTO_ICMPV6
}

// claim is what a frame says of who has which address; who only asks, without
// an address of its own, claims none.
func claim(frame []byte) (c Claim, ok bool) {
	switch {
	case isARP(frame):
		c.MAC = net.HardwareAddr(bytes.Clone(frame[22:28]))
		c.Addr, _ = netip.AddrFromSlice(frame[28:32])
		switch {
		case bytes.Equal(frame[28:32], frame[38:42]):
			c.Kind = Gratuitous
		case frame[21] == 2:
			c.Kind = Reply
		default:
			c.Kind = Request
		}
	case isDiscovery(frame) && frame[54] == icmp6Advertisement:
		c.MAC = net.HardwareAddr(bytes.Clone(frame[6:12]))
		c.Addr, _ = netip.AddrFromSlice(frame[62:78])
		c.Kind = Advertisement
		if frame[58]&solicited == 0 {
			c.Kind = Gratuitous
		}
	}
	return c, c.Kind != "" && !c.Addr.IsUnspecified()
}

// solicited is the flag of an advertisement that answers a question.
const solicited = 0x40
