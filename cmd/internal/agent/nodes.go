package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/answer"
	"gvlan/cmd/internal/config"
	"gvlan/driver/trouble"
)

// nodes are those of the cluster: as etcd describes them, and who of them answers
// now.
type nodes struct {
	config  config.Config
	self    Identity
	session *session.Session
	log     *slog.Logger

	troubles  *trouble.Book
	seeds     []string // hosts to call first: where the store's members are, agents are too
	directory *cluster.Directory
	peers     *gossip.Membership // nil with --gossip off: correct, only slower to notice
}

// join prepares the membership, where it is wanted: at is what peers reach this
// node by.
func (n *nodes) join(at netip.Addr) (err error) {
	if !n.config.Gossip.On {
		return nil
	}
	n.peers, err = gossip.New(gossip.Config{
		Node: n.self.Node, Registry: n.directory,
		Address: at, Port: n.config.Gossip.Port,
		Join: n.seeds, Cache: peersCache(n.config),
		MTU: mtuAt(at), Log: n.log,
	})
	return err
}

// peersCache is where the membership remembers whom it knew.
func peersCache(c config.Config) string { return filepath.Join(c.DataDir, "peers.json") }

// forgetPeers drops that: they are of another cluster.
func forgetPeers(c config.Config) error {
	if err := os.Remove(peersCache(c)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the nodes of the cluster before: %w", err)
	}
	return nil
}

// gossipAddress is what peers reach the membership by, "" without one.
func gossipAddress(c config.Config, addr netip.Addr) string {
	if !c.Gossip.On {
		return ""
	}
	return netip.AddrPortFrom(addr, c.Gossip.Port).String()
}

// run keeps directory and membership until ctx ends. The cluster's
// first key is made here, with the session: the membership has no way to
// write.
func (n *nodes) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.directory.Run(ctx, n.session) })
	if n.peers == nil {
		return group.Wait()
	}
	group.Go(func() error { return n.ensureKey(ctx) })
	group.Go(func() error { return n.peers.Run(ctx) })
	group.Go(func() error { return n.tellPeers(ctx) })
	return group.Wait()
}

// tellPeers keeps the metadata that peers hear of this node up to date: ownMeta
// and, from its own record, whether it is drained and which interfaces it has.
func (n *nodes) tellPeers(ctx context.Context) error {
	told := n.ownMeta()
	for {
		changed := n.directory.Changed()
		own := n.directory.Known().Nodes[n.self.Node].Description
		meta := told
		meta.Parents = gossip.ParentsDigest(own.Interfaces)
		if own.Drained {
			meta.Flags |= gossip.Draining
		}
		n.peers.SetMeta(meta)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// ownMeta is the part of the metadata that stays as it is while the agent runs.
func (n *nodes) ownMeta() (m gossip.Meta) {
	if _, err := os.Stat("/proc/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		m.Flags |= gossip.NoIPv6 // proc_net(5): the kernel has none
	}
	listen := addrPorts(n.config.DNS.Listen)
	switch {
	case !n.config.DNS.On:
		m.Flags |= gossip.DNSOff
	case len(listen) > 0:
		m.DNSPort = listen[0].Port()
	}
	return m
}

// leave tells the other nodes that this one goes on purpose.
func (n *nodes) leave() {
	if n.peers == nil {
		return
	}
	if err := n.peers.Leave(context.Background()); err != nil {
		n.log.Warn("the other nodes were not told that this one stops: they may take it for dead", "err", err)
	}
}

// drained reports whether an operator wants no new containers on this node.
func (n *nodes) drained() bool {
	return n.directory.Known().Nodes[n.self.Node].Description.Drained
}

// ensureKey makes the cluster's first key once the store answers, unless another
// node has made it.
func (n *nodes) ensureKey(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.session.Opened():
		}
		about := trouble.Matter{What: "making the key of the gossip", Then: "hosts know of each other from etcd alone"}
		err := gossip.EnsureKeys(ctx, n.session, rand.Reader)
		n.troubles.Settle(ctx, about, err)
		if err == nil || !store.Sleep(ctx, suspectLook) {
			return nil
		}
	}
}

// roster is what operators are shown them by.
func (n *nodes) roster() answer.Roster {
	return answer.Roster{Self: n.self.Node, Directory: n.directory, Peers: n.peers}
}

// rank puts the containers of nodes that seem dead last. It never hides one:
// gossip is an opinion. Without it a node seems dead that etcd, while it
// answers, says is not connected.
func (n *nodes) rank(node string) int {
	const last = 2
	if node == n.self.Node {
		return 0
	}
	if n.peers == nil {
		known := n.directory.Known()
		if other, there := known.Nodes[node]; there && known.Fresh && other.Live == nil {
			return last
		}
		return 0
	}
	if m, known := n.peers.Member(node); known && m.Standing != gossip.Alive {
		return last
	}
	return 0
}

// lan asks the networks this host has a parent for.
type lan struct {
	directory *cluster.Directory
	node      string // this one
	askAt     func(ctx context.Context, ifname string, addrs []netip.Addr) (answering []netip.Addr, err error)
	troubles  *trouble.Book
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
		asked[parent].addrs = append(asked[parent].addrs, e.Addresses()...)
	}
	l.askAll(ctx, asked)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	for parent, q := range asked {
		about := trouble.Matter{What: "asking the LAN who has a node's addresses, by parent " + parent}
		if parent != "" { // of a network that this host has
			l.troubles.Settle(ctx, about, q.err)
		}
	}
	for _, e := range endpoints {
		q := asked[parents[e.Network]]
		switch {
		case slices.ContainsFunc(e.Addresses(), func(addr netip.Addr) bool { return slices.Contains(q.found, addr) }):
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
