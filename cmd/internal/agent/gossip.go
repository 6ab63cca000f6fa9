package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
)

// membership is who answers now, beside what etcd says of the nodes.
type membership struct {
	config  config.Config
	self    Identity
	session *session.Session
	log     *slog.Logger

	directory  *cluster.Directory
	membership *gossip.Membership // nil with --gossip off: correct, only slower to notice
}

// join prepares the membership, where it is wanted: at is what peers reach this
// node by.
func (g *membership) join(at netip.Addr) (err error) {
	if !g.config.Gossip.On {
		return nil
	}
	g.membership, err = gossip.New(gossip.Config{
		Node: g.self.Node, Registry: g.directory,
		Address: at, Port: g.config.Gossip.Port,
		Join: joinPeers(g.config), Cache: filepath.Join(g.config.DataDir, "peers.json"),
		MTU: mtuAt(at), Log: g.log,
	})
	return err
}

// joinPeers is the host of --join: where its etcd is, its agent is too.
func joinPeers(c config.Config) []string {
	host, _, err := net.SplitHostPort(c.Join.Address)
	if err != nil {
		return nil // none was given
	}
	return []string{host}
}

// gossipAddress is what peers reach the membership by, "" without one.
func gossipAddress(c config.Config, addr netip.Addr) string {
	if !c.Gossip.On {
		return ""
	}
	return netip.AddrPortFrom(addr, c.Gossip.Port).String()
}

// status is nil without a membership.
func (g *membership) status() *api.GossipStatus {
	if g.membership == nil {
		return nil
	}
	c := g.membership.Counters()
	return &api.GossipStatus{
		Answering: g.membership.Answering(), RefusedKey: c.RefusedKey, RefusedCluster: c.RefusedCluster, RefusedNode: c.RefusedNode,
		UDPBlocked: c.UDPBlocked, Flaps: c.Flaps,
	}
}

// run keeps directory and membership until ctx ends. The cluster's
// first key is made here, with the session: the membership has no way to
// write.
func (g *membership) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.directory.Run(ctx, g.session) })
	if g.membership == nil {
		return group.Wait()
	}
	group.Go(func() error { return g.ensureKey(ctx) })
	group.Go(func() error { return g.membership.Run(ctx) })
	group.Go(func() error { return g.tellPeers(ctx) })
	return group.Wait()
}

// tellPeers keeps what this node tells of itself as its own record says,
// whether it is drained and which interfaces it has, beside what it was started
// with.
func (g *membership) tellPeers(ctx context.Context) error {
	told := g.ownMeta()
	for {
		changed := g.directory.Changed()
		own := g.directory.Known().Nodes[g.self.Node].Description
		meta := told
		meta.Parents = gossip.ParentsDigest(own.Interfaces)
		if own.Drained {
			meta.Flags |= gossip.Draining
		}
		g.membership.SetMeta(meta)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// ownMeta is what this agent tells of itself that stays as it was started.
func (g *membership) ownMeta() (m gossip.Meta) {
	if _, err := os.Stat("/proc/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		m.Flags |= gossip.NoIPv6 // proc_net(5): the kernel has none
	}
	listen := addrPorts(g.config.DNS.Listen)
	switch {
	case !g.config.DNS.On:
		m.Flags |= gossip.DNSOff
	case len(listen) > 0:
		m.DNSPort = listen[0].Port()
	}
	return m
}

// leave tells the other nodes that this one goes on purpose.
func (g *membership) leave() {
	if g.membership == nil {
		return
	}
	if err := g.membership.Leave(context.Background()); err != nil {
		g.log.Warn("the other nodes may take this one for dead", "err", err)
	}
}

// drained reports whether an operator wants no new containers on this node.
func (g *membership) drained() bool {
	return g.directory.Known().Nodes[g.self.Node].Description.Drained
}

// ensureKey makes the cluster's first key once the store answers, where nobody
// has.
func (g *membership) ensureKey(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.session.Opened():
		}
		err := gossip.EnsureKeys(ctx, g.session, rand.Reader)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		g.log.Warn("could not make the gossip's key yet", "err", err)
		if !store.Sleep(ctx, suspectLook) {
			return nil
		}
	}
}

// rows are all nodes from both sides.
func (g *membership) rows() []cluster.Row {
	var members []gossip.Member
	if g.membership != nil {
		members = g.membership.Members()
	}
	return cluster.View(g.directory.Known(), members)
}

// nodeNames are those of every node.
func (g *membership) nodeNames() []api.NodeName {
	var all []api.NodeName
	for _, row := range g.rows() {
		all = append(all, api.NodeName{Node: row.Node, Host: row.Store.Description.Host, Address: row.Store.Description.Address})
	}
	return all
}

// rank puts the containers of nodes that seem dead last. It never hides one:
// gossip is an opinion. Without it a node seems dead that etcd, while it
// answers, says is not connected.
func (g *membership) rank(node string) int {
	const last = 2
	if node == g.self.Node {
		return 0
	}
	if g.membership == nil {
		known := g.directory.Known()
		if n, there := known.Nodes[node]; there && known.Fresh && n.Live == nil {
			return last
		}
		return 0
	}
	if m, known := g.membership.Member(node); known && m.Standing != gossip.Alive {
		return last
	}
	return 0
}
