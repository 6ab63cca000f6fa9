package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
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

func (l *Lab) newLAN() (*LAN, error) {
	m, err := l.boot("lan", NoDocker)
	if err != nil {
		return nil, err
	}
	lan := &LAN{Machine: m, filtered: map[string]bool{}}
	if err := lan.addBridge(); err != nil {
		return nil, fmt.Errorf("make the bridge: %w", err)
	}
	return lan, nil
}

func (n *LAN) addBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridge
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

// configure sets a link up and gives it addresses.
func (m *Machine) configure(link string, addrs ...netip.Prefix) error {
	dev, err := m.links.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s on %s: %w", link, m.Name, err)
	}
	if err := m.links.LinkSetUp(dev); err != nil {
		return fmt.Errorf("set %s of %s up: %w", link, m.Name, err)
	}
	for _, p := range addrs {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if err := m.links.AddrAdd(dev, addr); err != nil {
			return fmt.Errorf("give %s of %s the address %s: %w", link, m.Name, p, err)
		}
	}
	return nil
}
