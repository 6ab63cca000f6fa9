package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/link"
)

// askLAN implements cluster.Ask by asking at this host's own parent of each
// endpoint's network.
func (p *parts) askLAN(ctx context.Context, endpoints []store.Endpoint) (answering []store.Endpoint, unasked int, err error) {
	parents := map[string]string{} // network uuid: interface here
	for _, n := range p.gossip.directory.Known().Nodes[p.self.Node].Description.Networks {
		parents[n.UUID] = n.Parent
	}
	asked := map[string][]netip.Addr{} // by interface
	for _, e := range endpoints {
		parent := parents[e.Network]
		if _, err := net.InterfaceByName(parent); err != nil {
			unasked++
			continue
		}
		asked[parent] = append(asked[parent], addressesOf(e)...)
	}
	found, err := askAll(ctx, asked)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range endpoints {
		if slices.ContainsFunc(addressesOf(e), func(addr netip.Addr) bool { return found[addr] }) {
			answering = append(answering, e)
		}
	}
	return answering, unasked, nil
}

// askAll asks at all interfaces at once.
func askAll(ctx context.Context, asked map[string][]netip.Addr) (map[netip.Addr]bool, error) {
	var mu sync.Mutex
	found := map[netip.Addr]bool{}
	group, ctx := errgroup.WithContext(ctx)
	for parent, addrs := range asked {
		group.Go(func() error {
			answering, err := link.Ask(ctx, parent, addrs)
			mu.Lock()
			defer mu.Unlock()
			for _, addr := range answering {
				found[addr] = true
			}
			return err
		})
	}
	return found, group.Wait()
}

// addressesOf returns an endpoint's addresses, which its record has as CIDR.
func addressesOf(e store.Endpoint) (all []netip.Addr) {
	for _, text := range []string{e.IPv4, e.IPv6} {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, prefix.Addr())
		}
	}
	return all
}
