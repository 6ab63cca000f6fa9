package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"gvlan/cluster"
	"gvlan/cluster/store"
)

// lan asks the networks this host has a parent for.
type lan struct {
	directory *cluster.Directory
	node      string // this one
	askAt     func(ctx context.Context, ifname string, addrs []netip.Addr) (answering []netip.Addr, err error)
	log       *slog.Logger
}

// ask implements evict.Ask by asking at this host's own parent of each
// endpoint's network. Where a parent cannot be asked at, its endpoints were not
// asked for.
func (l lan) ask(ctx context.Context, endpoints []store.Endpoint) (answering, unasked []store.Endpoint, err error) {
	parents := map[string]string{} // network uuid: interface here
	for _, n := range l.directory.Known().Nodes[l.node].Description.Networks {
		parents[n.UUID] = n.Parent
	}
	asked := map[string]*inquiry{} // by interface
	for _, e := range endpoints {
		parent := parents[e.Network]
		if asked[parent] == nil {
			asked[parent] = &inquiry{}
		}
		asked[parent].addrs = append(asked[parent].addrs, addressesOf(e)...)
	}
	l.askAll(ctx, asked)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	for parent, q := range asked {
		if q.err != nil {
			l.log.Warn("the LAN was not asked who has a node's addresses: no question leaves by this parent", "parent", parent, "err", q.err)
		}
	}
	for _, e := range endpoints {
		q := asked[parents[e.Network]]
		switch {
		case slices.ContainsFunc(addressesOf(e), func(addr netip.Addr) bool { return slices.Contains(q.found, addr) }):
			answering = append(answering, e)
		case q.err != nil:
			unasked = append(unasked, e)
		}
	}
	return answering, unasked, nil
}

// inquiry is what is asked at one interface, and what came of it.
type inquiry struct {
	addrs []netip.Addr
	found []netip.Addr
	err   error
}

// askAll asks at all interfaces at once.
func (l lan) askAll(ctx context.Context, asked map[string]*inquiry) {
	var all sync.WaitGroup
	for parent, q := range asked {
		all.Go(func() { q.found, q.err = l.askAt(ctx, parent, q.addrs) })
	}
	all.Wait()
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
