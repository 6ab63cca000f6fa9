package agent

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"gvlan/cluster"
	"gvlan/cmd/internal/config"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// advertised is the address other hosts reach this one by: the one that was
// given, the first of the interface that was given, the one etcd is served on
// to others, or the source address the kernel picks towards the etcd in use.
func advertised(ctx context.Context, c config.Config) (netip.Addr, error) {
	if c.Advertise == "" {
		if at, err := netip.ParseAddrPort(c.Etcd.Listen); err == nil && !at.Addr().IsUnspecified() && !at.Addr().IsLoopback() {
			return at.Addr(), nil
		}
	}
	return cluster.Advertise(ctx, c.Advertise, etcdHosts(c))
}

// etcdHosts are the host:port of the etcd that other hosts serve.
func etcdHosts(c config.Config) []string {
	if c.Join.Address != "" {
		return []string{c.Join.Address}
	}
	var hosts []string
	for _, endpoint := range c.Etcd.Endpoints {
		if u, err := url.Parse(endpoint); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
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

// defaultPools are the configured blocks as runs of subnets.
func defaultPools(c config.Pools) []node.DefaultPools {
	var pools []node.DefaultPools
	for _, b := range slices.Concat(c.Default4, c.Default6) {
		pools = append(pools, node.DefaultPools{
			First: netip.PrefixFrom(b.Base.Addr(), b.Bits),
			Last:  netip.PrefixFrom(pool.LastOf(b.Base), b.Bits).Masked(),
		})
	}
	return pools
}
