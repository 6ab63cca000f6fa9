package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
)

// membership is who answers now, beside what etcd says.
type membership struct {
	directory  *cluster.Directory
	membership *gossip.Membership // nil with --gossip off: correct, only slower to notice
}

// openGossip prepares the directory of nodes and the membership.
func (p *parts) openGossip(addr netip.Addr) (err error) {
	p.gossip.directory = cluster.NewDirectory(p.log)
	if !p.config.Gossip.On {
		return nil
	}
	p.gossip.membership, err = gossip.New(gossip.Config{
		Node: p.self.Node, Registry: p.gossip.directory,
		Address: addr, Port: p.config.Gossip.Port,
		Join: joinPeers(p.config), Cache: filepath.Join(p.config.DataDir, "peers.json"),
		MTU: mtuAt(addr), Log: p.log,
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
func (p *parts) gossipAddress(addr netip.Addr) string {
	if !p.config.Gossip.On {
		return ""
	}
	return netip.AddrPortFrom(addr, p.config.Gossip.Port).String()
}

// status is nil without a membership.
func (g membership) status() *api.GossipStatus {
	if g.membership == nil {
		return nil
	}
	c := g.membership.Counters()
	return &api.GossipStatus{
		Answering: g.membership.Answering(), RefusedKey: c.RefusedKey, RefusedCluster: c.RefusedCluster, RefusedNode: c.RefusedNode,
		UDPBlocked: c.UDPBlocked, Flaps: c.Flaps,
	}
}

// runGossip keeps directory and membership until ctx ends. The cluster's
// first key is made here, with the session: the membership has no way to
// write.
func (p *parts) runGossip(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.gossip.directory.Run(ctx, p.session) })
	if p.gossip.membership == nil {
		return group.Wait()
	}
	group.Go(func() error { return p.ensureGossipKey(ctx) })
	group.Go(func() error { return p.gossip.membership.Run(ctx) })
	group.Go(func() error { return p.tellPeers(ctx) })
	return group.Wait()
}

// tellPeers keeps what this node tells of itself as its own record says,
// whether it is drained and which interfaces it has, beside what it was started
// with.
func (p *parts) tellPeers(ctx context.Context) error {
	told := p.ownMeta()
	for {
		changed := p.gossip.directory.Changed()
		own := p.gossip.directory.Known().Nodes[p.self.Node].Description
		meta := told
		meta.Parents = gossip.ParentsDigest(own.Interfaces)
		if own.Drained {
			meta.Flags |= gossip.Draining
		}
		p.gossip.membership.SetMeta(meta)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// ownMeta is what this agent tells of itself that stays as it was started.
func (p *parts) ownMeta() (m gossip.Meta) {
	if _, err := os.Stat("/proc/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		m.Flags |= gossip.NoIPv6 // proc_net(5): the kernel has none
	}
	listen := addrPorts(p.config.DNS.Listen)
	switch {
	case !p.config.DNS.On:
		m.Flags |= gossip.DNSOff
	case len(listen) > 0:
		m.DNSPort = listen[0].Port()
	}
	return m
}

// leave tells the other nodes that this one goes on purpose.
func (p *parts) leave() {
	if p.gossip.membership == nil {
		return
	}
	if err := p.gossip.membership.Leave(context.Background()); err != nil {
		p.log.Warn("the other nodes may take this one for dead", "error", err)
	}
}

// drained tells whether an operator wants no new containers on this node.
func (p *parts) drained() bool {
	return p.gossip.directory.Known().Nodes[p.self.Node].Description.Drained
}

func (p *parts) ensureGossipKey(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.session.Opened():
		}
		err := gossip.EnsureKeys(ctx, p.session, rand.Reader)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		p.log.Warn("could not make the gossip's key yet", "error", err)
		if !store.Sleep(ctx, suspectLook) {
			return nil
		}
	}
}
