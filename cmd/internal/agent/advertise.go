package agent

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"gvlan/cmd/internal/config"
)

// advertised is the address other hosts reach this one by: the one that was
// given, the first of the interface that was given, the one etcd is served
// on, or the source address the kernel picks towards the etcd in use. A solo
// agent with no route anywhere is only reached by itself.
func advertised(c config.Config) (netip.Addr, error) {
	if c.Advertise == "" {
		if at, err := netip.ParseAddrPort(c.Etcd.Listen); err == nil && !at.Addr().IsUnspecified() {
			return at.Addr(), nil
		}
		return sourceTowards(peerOf(c)), nil
	}
	if addr, err := netip.ParseAddr(c.Advertise); err == nil {
		return addr, nil
	}
	link, err := net.InterfaceByName(c.Advertise)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--advertise %s: this host has no such interface: %w", c.Advertise, err)
	}
	addrs, err := link.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--advertise %s: read its addresses: %w", c.Advertise, err)
	}
	addr := bestOf(addrs)
	if !addr.IsValid() {
		return netip.Addr{}, fmt.Errorf("--advertise %s: the interface has no address others could use", c.Advertise)
	}
	return addr, nil
}

// bestOf picks the first IPv4 address, else the first IPv6 one, that is
// valid beyond its link.
func bestOf(addrs []net.Addr) netip.Addr {
	var usable []netip.Addr
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			usable = append(usable, prefix.Addr())
		}
	}
	if i := slices.IndexFunc(usable, netip.Addr.Is4); i >= 0 {
		return usable[i]
	}
	if len(usable) > 0 {
		return usable[0]
	}
	return netip.Addr{}
}

// elsewhere (RFC 5737) stands for any address beyond this host's links.
const elsewhere = "192.0.2.1:9"

// peerOf is the host:port this agent talks to other hosts at.
func peerOf(c config.Config) string {
	switch c.Mode() {
	case config.ModeExternal:
		if u, err := url.Parse(c.Etcd.Endpoints[0]); err == nil {
			return u.Host
		}
	case config.ModeJoin:
		return c.Join.Address
	}
	return elsewhere
}

// sourceTowards asks the kernel which address it would send from; nothing is
// sent.
func sourceTowards(peer string) netip.Addr {
	conn, err := net.Dial("udp", peer)
	if err != nil {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// mtuAt is the MTU of the interface that has an address, in bytes; 0 when
// none has it.
func mtuAt(addr netip.Addr) int {
	links, err := net.Interfaces()
	if err != nil {
		return 0
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr() == addr
		}) {
			return link.MTU
		}
	}
	return 0
}
