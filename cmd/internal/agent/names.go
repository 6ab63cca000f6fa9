package agent

import (
	"context"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/dns/sandbox"
	"gvlan/dns/zone"
	"gvlan/driver/netns"
)

// names are the zone and whoever answers from it.
type names struct {
	zone      *zone.Zone
	sandboxes *sandbox.Resolvers // nil with --dns off

	definitions, endpoints mirror // what the zone is fed from
}

// openNames prepares the zone and the resolvers inside containers.
func (p *parts) openNames() (err error) {
	p.names.zone, err = zone.New(zone.Config{
		Node: p.self.Node, Domain: p.config.DNS.Domain, Rank: p.rank, Hosts: []netip.Addr{p.address},
	})
	if err == nil && p.config.DNS.On {
		p.names.sandboxes = sandbox.New(p.names.zone, netns.Do, p.log)
	}
	return err
}

// rank puts the containers of nodes that seem dead last. It never hides one:
// gossip is an opinion. Without it a node seems dead that etcd, while it
// answers, says is not connected.
func (p *parts) rank(node string) int {
	const last = 2
	if node == p.self.Node {
		return 0
	}
	if p.gossip.membership == nil {
		known := p.gossip.directory.Known()
		if n, there := known.Nodes[node]; there && known.Fresh && n.Live == nil {
			return last
		}
		return 0
	}
	if m, known := p.gossip.membership.Member(node); known && m.Standing != gossip.Alive {
		return last
	}
	return 0
}

// runNames feeds the zone from the store's watch and keeps the resolvers,
// until ctx ends.
func (p *parts) runNames(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return store.Follow(ctx, p.session, store.NetworksSpan(), func(c store.Change) {
			p.names.definitions.apply(c)
			p.names.zone.ApplyNetworks(c)
		})
	})
	group.Go(func() error {
		return store.Follow(ctx, p.session, store.EndpointsSpan(), func(c store.Change) {
			p.names.endpoints.apply(c)
			p.names.zone.ApplyEndpoints(c)
			p.addresses.ApplyEndpoints(c)
		})
	})
	if p.names.sandboxes != nil {
		group.Go(func() error { return p.names.sandboxes.Run(ctx) })
		group.Go(func() error { return p.tellDoubts(ctx) })
	}
	group.Go(func() error { return p.rerank(ctx) })
	return group.Wait()
}

// rerank reorders answers when a node came or went.
func (p *parts) rerank(ctx context.Context) error {
	var events <-chan gossip.Batch[gossip.Event] // nil, which never sends, without gossip
	if p.gossip.membership != nil {
		events = p.gossip.membership.Events()
	}
	for {
		var changed <-chan struct{} // the same with it
		if events == nil {
			changed = p.gossip.directory.Changed()
			p.names.zone.Rerank()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			p.names.zone.Rerank()
		case <-changed:
		}
	}
}
