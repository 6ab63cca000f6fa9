package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/dns/listen"
	"gvlan/dns/sandbox"
	"gvlan/dns/update"
	"gvlan/dns/zone"
	"gvlan/driver/journal/disk"
	"gvlan/driver/netns"
	"gvlan/driver/trouble"
)

// names are the zone and whoever answers from it.
type names struct {
	config  config.DNS
	node    string // this one
	nodes   *nodes
	updates *disk.Bucket // which names a LAN's own server has
	log     *slog.Logger

	unserved  *trouble.Book // addresses of --dns-listen that cannot be had
	again     time.Duration // is when one of those is tried again
	zone      *zone.Zone
	sandboxes *sandbox.Resolvers // nil with --dns off
}

// open prepares the zone and the resolvers inside containers; host is this
// host's own address.
func (n *names) open(host netip.Addr) (err error) {
	n.zone, err = zone.New(zone.Config{
		Node: n.node, Domain: n.config.Domain, Rank: n.nodes.rank, Hosts: []netip.Addr{host},
	})
	if err == nil && n.config.On {
		n.sandboxes = sandbox.New(n.zone, netns.Do, n.log)
	}
	return err
}

// run keeps the resolvers inside containers and the order of answers, and says
// what is doubtful, until ctx ends.
func (n *names) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.rerank(ctx) })
	if n.sandboxes != nil {
		group.Go(func() error { return n.sandboxes.Run(ctx) })
		group.Go(func() error { return n.tellDoubts(ctx) })
	}
	return group.Wait()
}

// rerank reorders answers when a node came or went.
func (n *names) rerank(ctx context.Context) error {
	var events <-chan gossip.Batch[gossip.Event] // nil, which never sends, without gossip
	if n.nodes.peers != nil {
		events = n.nodes.peers.Events()
	}
	for {
		var changed <-chan struct{} // the same with it
		if events == nil {
			changed = n.nodes.directory.Changed()
			n.zone.Rerank()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			n.zone.Rerank()
		case <-changed:
		}
	}
}

// unservedAgain is when an address that could not be had is tried again: its
// interface may come, and who has its port may go.
const unservedAgain = 5 * time.Second

// serve answers the host and the LAN, where that is wanted. An address
// that cannot be had is told of and tried again: containers do not need it.
func (n *names) serve(ctx context.Context) error {
	if !n.config.On {
		return nil
	}
	forward, err := n.forwarder()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if forward != nil {
		group.Go(func() error { return forward.Run(ctx) })
	}
	listener := listen.New(listen.Config{Zone: n.zone, Forward: forward, Allow: n.config.Allow})
	for _, address := range n.config.Listen {
		group.Go(func() error { return n.serveOn(ctx, listener, address) })
	}
	return group.Wait()
}

// serveOn answers on one address as soon as it can be had.
func (n *names) serveOn(ctx context.Context, listener *listen.Listener, address string) error {
	for {
		packets, streams, err := listen.Open(ctx, address)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w (ss -lntup names the program)", err)
		}
		n.unserved.Settle(ctx, trouble.Matter{What: "answering names on " + address + " (--dns-listen)", Then: "who asks there gets no answer of gvlan's; containers do"}, err)
		if err == nil {
			return listener.Serve(ctx, packets, streams)
		}
		if !store.Sleep(ctx, n.again) {
			return nil
		}
	}
}

// warnings are the addresses on which the host and the LAN get no answer.
func (n *names) warnings() (all []string) {
	for about, failed := range n.unserved.List() {
		all = append(all, about.Fails(failed.Why))
	}
	slices.Sort(all)
	return all
}

// forwarder asks --dns-upstream, nil without any.
func (n *names) forwarder() (*listen.Forwarder, error) {
	if len(n.config.Upstream) == 0 {
		return nil, nil
	}
	return listen.NewForwarder(addrPorts(n.config.Upstream), addrPorts(n.config.Listen), n.log)
}

// addrPorts reads addresses that the check of the configuration let through.
func addrPorts(texts []string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		if at, err := netip.ParseAddrPort(text); err == nil {
			all = append(all, at)
		}
	}
	return all
}

// push keeps a LAN's own DNS server told of this host's containers
// (RFC 2136), where --dns-update-server names one.
func (n *names) push(ctx context.Context) error {
	u := n.config.Update
	if u.Server == "" {
		return nil
	}
	server, err := netip.ParseAddrPort(u.Server)
	if err != nil {
		return err
	}
	updater, err := update.New(n.zone, update.Config{
		Server: server, Zone: u.Zone, KeyName: u.Key, Secret: u.Secret,
	}, n.updates, n.log)
	if err != nil {
		return err
	}
	return updater.Run(ctx)
}

// tellDoubts logs what is doubtful about the names this host has a part in,
// each once, until ctx ends.
func (n *names) tellDoubts(ctx context.Context) error {
	told := map[string]bool{}
	for {
		changed := n.zone.Changed()
		for _, same := range n.zone.Namesakes(zone.Everything()) {
			if slices.Contains(same.Nodes, n.node) {
				n.tellOnce(told, func(called func(string) string) string { return same.Doubt(called) })
			}
		}
		for _, c := range n.zone.Conflicts() {
			n.tellOnce(told, func(func(string) string) string { return c.Doubt() })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// tellOnce logs a sentence once. It is the same sentence also after a host in it
// was renamed.
func (n *names) tellOnce(told map[string]bool, sentence func(called func(string) string) string) {
	if key := sentence(strings.Clone); !told[key] {
		told[key] = true
		n.log.Warn(sentence(api.CallNodes(n.nodes.roster().Names())))
	}
}
