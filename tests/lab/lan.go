package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The LAN's plan. Prefixes are private to a lab: every lab uses the same.
const (
	lanPrefix4 = "10.99.0.0/24"
	lanPrefix6 = "fd99::/64"

	gatewayNumber = 254 // the LAN machine, which routes nowhere
	peerNumber    = 253
	etcdNumber    = 250 // first etcd server, further ones below

	bridge = "br0"
	nic    = "eth1" // a machine's card on the LAN
)

// lanAddresses gives the nth addresses: 10.99.0.n and fd99::n, where n's decimal
// digits are read as hexadecimal so that both look alike.
func lanAddresses(n int) (v4, v6 netip.Prefix) {
	p4, p6 := netip.MustParsePrefix(lanPrefix4), netip.MustParsePrefix(lanPrefix6)
	a := p4.Addr().As4()
	a[3] = byte(n)
	six := netip.MustParseAddr(fmt.Sprintf("%s%d", p6.Addr(), n))
	return netip.PrefixFrom(netip.AddrFrom4(a), p4.Bits()), netip.PrefixFrom(six, p6.Bits())
}

// LAN is the layer-2 domain the hosts are on: a bridge in a machine of its own. The
// bridge itself has the gateway's address.
type LAN struct {
	*Machine
	// Gateway is the default route of every host. Nothing lies behind it.
	Gateway netip.Addr

	mu       sync.Mutex
	filtered map[string]bool // machines with a table of ours on their port
}

func (n *LAN) addBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridge
	// Else it is the lowest of its ports': a card plugged in later may change it, and who
	// knows the old one speaks into a hole for seconds.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 10, 99, 0, gatewayNumber}
	snooping := false // without a querier it would drop neighbour solicitations after a while
	if err := n.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("add %s: %w", bridge, err)
	}
	v4, v6 := lanAddresses(gatewayNumber)
	n.Gateway, n.Addr4, n.Addr6 = v4.Addr(), v4.Addr(), v6.Addr()
	return n.configure(bridge, v4, v6)
}

// Port names the bridge port a machine is plugged into, for captures in the LAN.
func (n *LAN) Port(m *Machine) string { return "p-" + m.Name }

// plug gives a machine a card on the LAN with the nth addresses and a default route.
func (n *LAN) plug(m *Machine, number int) error {
	br, err := n.links.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find the bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = n.Port(m), br.Attrs().Index, net.FlagUp
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nic, PeerNamespace: netlink.NsPid(m.PID)}
	if err := n.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("plug %s into the LAN: %w", m.Name, err)
	}
	v4, v6 := lanAddresses(number)
	m.Addr4, m.Addr6 = v4.Addr(), v6.Addr()
	if err := m.configure(nic, v4, v6); err != nil {
		return err
	}
	if err := m.links.RouteAdd(&netlink.Route{Gw: n.Gateway.AsSlice()}); err != nil {
		return fmt.Errorf("set default route of %s: %w", m.Name, err)
	}
	// No name server is there: a question gets an ICMP error at once, not a timeout.
	return m.WriteFile("/etc/resolv.conf", []byte("nameserver "+n.Gateway.String()+"\n"))
}

// Replug takes a machine's card out and gives it another in its place, with the same
// addresses: what hung from the card is gone.
func (n *LAN) Replug(m *Machine) error {
	port, err := n.links.LinkByName(n.Port(m))
	if err != nil {
		return fmt.Errorf("find port of %s: %w", m.Name, err)
	}
	if err := n.links.LinkDel(port); err != nil { // with its other end
		return fmt.Errorf("unplug %s: %w", m.Name, err)
	}
	number := m.Addr4.As4()[3]
	return n.plug(m, int(number))
}

// Cut takes a machine off the LAN as if its cable were pulled at the switch.
func (n *LAN) Cut(m *Machine) error { return n.setPort(m, n.links.LinkSetDown) }

// Mute drops every frame the machine sends: it still hears the LAN.
func (n *LAN) Mute(ctx context.Context, m *Machine) error { return n.filter(ctx, m, "ingress") }

// Deafen drops every frame sent to the machine: the LAN still hears it.
func (n *LAN) Deafen(ctx context.Context, m *Machine) error { return n.filter(ctx, m, "egress") }

// Heal undoes Cut, Mute and Deafen.
func (n *LAN) Heal(ctx context.Context, m *Machine) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.filtered[m.Name] {
		if _, err := n.Exec(ctx, "nft", "delete table netdev "+n.Port(m)); err != nil {
			return fmt.Errorf("heal %s: %w", m.Name, err)
		}
		delete(n.filtered, m.Name)
	}
	return n.setPort(m, n.links.LinkSetUp)
}

// filter drops all frames on a bridge port. What the switch takes in (ingress) is
// what the machine sent; nftables' netdev family sees it before the bridge does.
func (n *LAN) filter(ctx context.Context, m *Machine, direction string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.Port(m)
	rule := fmt.Sprintf("add table netdev %s; add chain netdev %s %s { type filter hook %s device %s priority 0; policy drop; }",
		p, p, direction, direction, p)
	if _, err := n.Exec(ctx, "nft", rule); err != nil {
		return fmt.Errorf("drop %s frames of %s: %w", direction, m.Name, err)
	}
	n.filtered[m.Name] = true
	return nil
}

func (n *LAN) setPort(m *Machine, set func(netlink.Link) error) error {
	dev, err := n.links.LinkByName(n.Port(m))
	if err != nil {
		return fmt.Errorf("find port of %s: %w", m.Name, err)
	}
	if err := set(dev); err != nil {
		return fmt.Errorf("set port of %s: %w", m.Name, err)
	}
	return nil
}

// probeWindow is how long answers to one probe are collected. A kernel answers
// within microseconds, its macvlan after at most a scheduler's delay.
const probeWindow = 300 * time.Millisecond

// Answer is one reply to one probe.
type Answer struct {
	// Port is the bridge port the reply came in by, that is, the machine it came from.
	Port string
	// MAC is what the reply says the address is at. Two holders of one address may
	// well say the same.
	MAC net.HardwareAddr
}

// ports maps link indexes to names, of the links that are ports of the bridge.
func (n *LAN) ports() (map[int]string, error) {
	links, err := n.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	ports := map[int]string{}
	for _, link := range links {
		if link.Attrs().MasterIndex != 0 {
			ports[link.Attrs().Index] = link.Attrs().Name
		}
	}
	return ports, nil
}

// packetSocket opens a packet(7) socket that sees every frame of every link in the
// machine, frames that a bridge takes included.
func packetSocket(m *Machine) (*os.File, error) {
	fd := -1
	err := m.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// send puts a frame on one of the machine's links.
func (m *Machine) send(link int, frame []byte) error {
	return m.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link, Halen: 6})
	})
}

// collect reads frames that come in, until the read deadline.
func collect(capture *os.File, match func(link int, frame []byte) (Answer, bool)) ([]Answer, error) {
	conn, err := capture.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read frames: %w", err)
	}
	var answers []Answer
	buf := make([]byte, 2048)
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := conn.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(rerr, syscall.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, nil
		}
		if err = errors.Join(err, rerr); err != nil {
			return nil, fmt.Errorf("read frames: %w", err)
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if a, ok := match(ll.Ifindex, buf[:n]); ok {
			answers = append(answers, a)
		}
	}
}

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
	frame := p.ethernet(net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}, unix.ETH_P_IPV6)
	return p.ndp(frame, group, message)
}

// ndp appends an IPv6 packet with a message of neighbour discovery to an Ethernet
// header, from the link-local address, and fills in the message's checksum.
func (p prober) ndp(frame []byte, to [16]byte, message []byte) []byte {
	pseudo := append(p.linkLocal(), to[:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))

	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, unix.IPPROTO_ICMPV6, 255) // hop limit 255 proves the sender is on the link
	frame = append(frame, p.linkLocal()...)
	frame = append(frame, to[:]...)
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
