package ipam

import (
	"crypto/sha256"
	"net"
	"net/netip"
)

// MAC returns the hardware address that goes with an address: 02 (locally
// administered, unicast: IEEE 802) and the first 40 bits of
// SHA-256(cluster uuid, NUL, segment, NUL, address). A container that gets
// its address back gets its MAC back, and neighbours need not learn it anew.
func MAC(cluster, segment string, addr netip.Addr) net.HardwareAddr {
	sum := sha256.Sum256([]byte(cluster + "\x00" + segment + "\x00" + addr.String()))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}
