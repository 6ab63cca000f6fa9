package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Advertise chooses the address by which other nodes reach this one. want is
// an address of this host, the name of one of its interfaces, or empty: then
// it is the source address the kernel picks toward the first of the etcd
// endpoints (host:port) that is not this host's loopback, or else toward its
// default route, or else loopback, as on a host on its own.
func Advertise(ctx context.Context, want string, endpoints []string) (netip.Addr, error) {
	if want == "" {
		return sourceToward(ctx, endpoints), nil
	}
	if addr, err := netip.ParseAddr(want); err == nil {
		return ofThisHost(addr)
	}
	iface, err := net.InterfaceByName(want)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--advertise %s is neither an address nor an interface of this host, use for example '--advertise eth0'", want)
	}
	addrs, err := iface.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read addresses of --advertise %s: %w", want, err)
	}
	addr := preferred(addrs)
	if !addr.IsValid() {
		return netip.Addr{}, fmt.Errorf("--advertise %s has no address that other hosts can reach", want)
	}
	return addr, nil
}

// resolveWait bounds how long an endpoint's name is looked up: an agent starts
// before a host's resolver may answer.
const resolveWait = 2 * time.Second

// sourceToward asks the kernel by connecting a UDP socket, which sends
// nothing.
func sourceToward(ctx context.Context, endpoints []string) netip.Addr {
	// Addresses reserved for documentation (RFC 5737, RFC 3849) are routed
	// as anything unknown is: by the default route.
	for _, to := range append(endpoints, "192.0.2.1:9", "[2001:db8::1]:9") {
		conn, err := (&net.Dialer{Timeout: resolveWait}).DialContext(ctx, "udp", to)
		if err != nil {
			continue
		}
		addr := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
		conn.Close()
		if usable(addr) {
			return addr
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// ofThisHost refuses an address that cannot be bound.
func ofThisHost(addr netip.Addr) (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read addresses of this host: %w", err)
	}
	for _, a := range addrs {
		if has, ok := netipOf(a); ok && (has == addr || has.IsLoopback() && addr.IsLoopback()) {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("--advertise %s is no address of this host: give one of its own, or none", addr)
}

// preferred returns the first IPv4 address of an interface, else its first
// IPv6 address; none that only the link or this host can reach.
func preferred(addrs []net.Addr) netip.Addr {
	var six netip.Addr
	for _, a := range addrs {
		addr, ok := netipOf(a)
		switch {
		case !ok || !usable(addr):
		case addr.Is4():
			return addr
		case !six.IsValid():
			six = addr
		}
	}
	return six
}

func usable(addr netip.Addr) bool {
	return addr.IsValid() && !addr.IsUnspecified() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast()
}

func netipOf(a net.Addr) (netip.Addr, bool) {
	prefix, ok := a.(*net.IPNet)
	if !ok {
		return netip.Addr{}, false
	}
	addr, ok := netip.AddrFromSlice(prefix.IP)
	return addr.Unmap(), ok
}
