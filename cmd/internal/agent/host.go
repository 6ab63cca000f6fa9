package agent

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/cmd/internal/config"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// socketPath is the file behind a unix:// address; others are refused by the
// check of the configuration.
func socketPath(docker string) string { return strings.TrimPrefix(docker, "unix://") }

// pluginSocketName is the file name Docker finds the plugin by. In a managed
// plugin it is what config.json says.
func pluginSocketName(c config.Config) string {
	if c.Swarm {
		return "gvlan"
	}
	return c.DriverName
}

// routes lists the destinations of this host's routes; default routes are
// left out.
func routes() ([]netip.Prefix, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	var all []netip.Prefix
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := handle.RouteList(nil, family)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if p, ok := destination(r.Dst); ok {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func destination(dst *net.IPNet) (netip.Prefix, bool) {
	if dst == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(dst.IP)
	bits, _ := dst.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), bits), true
}

// defaultPools are the configured blocks as runs of subnets.
func defaultPools(c config.Pools) []ipam.DefaultPools {
	var pools []ipam.DefaultPools
	for _, b := range slices.Concat(c.Default4, c.Default6) {
		pools = append(pools, ipam.DefaultPools{
			First: netip.PrefixFrom(b.Base.Addr(), b.Bits),
			Last:  netip.PrefixFrom(pool.LastOf(b.Base), b.Bits).Masked(),
		})
	}
	return pools
}
