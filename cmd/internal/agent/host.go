package agent

import (
	"net/netip"
	"slices"
	"strings"

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
