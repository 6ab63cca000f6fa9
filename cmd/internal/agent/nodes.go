package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/ipam/evict"
)

// nodeNames are those of every node.
func (p *parts) nodeNames() []api.NodeName {
	var all []api.NodeName
	for _, row := range p.rows() {
		all = append(all, api.NodeName{Node: row.Node, Host: row.Store.Description.Host, Address: row.Store.Description.Address})
	}
	return all
}

func (p *parts) serveNodes() {
	p.status.Handle("GET "+api.NodesRoute, p.listNodes)
	p.status.Handle("GET "+api.MembersRoute, p.listMembers)
	p.status.Handle("POST "+api.DrainRoute, p.drainNode)
	p.status.Handle("POST "+api.EvictRoute, p.evictNode)
	p.status.Handle("POST "+api.RotateRoute, p.rotateKey)
}

// rows are all nodes from both sides.
func (p *parts) rows() []cluster.Row {
	var members []gossip.Member
	if p.gossip.membership != nil {
		members = p.gossip.membership.Members()
	}
	return cluster.View(p.gossip.directory.Known(), members)
}

// listNodes answers from memory, and counts endpoints where etcd answers:
// who is alive is asked most when it does not.
func (p *parts) listNodes(r *http.Request) (any, error) {
	has, err := p.endpointsByNode(r.Context())
	stale := err != nil || !p.gossip.directory.Known().Fresh
	views := []api.NodeView{}
	for _, row := range p.rows() {
		described := row.Store.Description
		view := api.NodeView{
			Node: row.Node, Host: described.Host, Address: described.Address, State: string(row.State), Since: row.Since,
			Version: described.Version, Stopped: row.Stopped, Drained: described.Drained, Evicted: row.Store.Epoch.Evicted, Epoch: row.Store.Epoch.Epoch,
			Interfaces: described.Interfaces, Networks: described.Networks, StaleParents: row.StaleParents, Stale: stale,
		}
		if err == nil {
			count := has[row.Node]
			view.Endpoints = &count
		}
		views = append(views, view)
	}
	return api.HostViews(views), nil
}

// etcdAnswer bounds how long a look at the nodes waits for etcd.
const etcdAnswer = 2 * time.Second

func (p *parts) endpointsByNode(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	endpoints, err := listAll[store.Endpoint](ctx, p.session, store.EndpointsSpan())
	has := map[string]int{}
	for _, e := range endpoints {
		has[e.Node]++
	}
	return has, err
}

func (p *parts) listMembers(*http.Request) (any, error) {
	views := []api.MemberView{}
	called := api.CallAgents(p.nodeNames())
	for _, row := range p.rows() {
		v := api.MemberView{Node: row.Node, Name: called(row.Node), Etcd: "away"}
		if row.Store.Live != nil {
			v.Etcd = "connected"
		}
		if m := row.Member; m != nil {
			v.Address, v.Gossip, v.Since, v.Direct, v.RTT = m.Address.String(), string(m.Standing), m.Since, m.Direct, m.RTT
			v.Applied, v.Parents, v.Remarks = m.Ack.Applied, m.Meta.Parents, m.Meta.Remarks()
		}
		if row.Node == p.self.Node {
			v.Applied = p.gossip.directory.Known().Revision
		}
		views = append(views, v)
	}
	return views, nil
}

// drainNode drains a host's agents both.
func (p *parts) drainNode(r *http.Request) (any, error) {
	nodes, err := api.NodesCalled(p.nodeNames(), api.NameIn(r))
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		err = errors.Join(err, cluster.Drain(r.Context(), p.session, node, !r.URL.Query().Has("undo")))
	}
	return struct{}{}, err
}

// evictNode takes as long as the fence needs to be felt.
func (p *parts) evictNode(r *http.Request) (any, error) {
	names, force := p.nodeNames(), r.URL.Query().Has("force")
	nodes, err := api.NodesCalled(names, api.NameIn(r))
	if err != nil {
		return nil, err
	}
	nodes = toEvict(p.rows(), nodes)
	taken := make([]evict.Taken, len(nodes))
	var evictions errgroup.Group
	for i, node := range nodes {
		evictions.Go(func() (err error) {
			taken[i], err = evict.Node(r.Context(), p.session, node, evict.Options{
				Called: api.CallAgents(names)(node), Force: force, Grant: p.session.Grant, Ask: p.askLAN, Log: p.log,
			})
			return err
		})
	}
	err = evictions.Wait()
	return addTaken(taken), err
}

// toEvict are those of a host's nodes that an eviction means. One of its agents
// may be gone for good while the other is connected: then it is that one, also
// by force. A node whose eviction ended is not meant again.
func toEvict(rows []cluster.Row, nodes []string) []string {
	var away, connected []string
	for _, row := range rows {
		done := row.Store.Epoch.Evicted && !row.Store.Registered
		switch {
		case !slices.Contains(nodes, row.Node):
		case row.Store.Live != nil:
			connected = append(connected, row.Node)
		case !done:
			away = append(away, row.Node)
		}
	}
	for _, some := range [][]string{away, connected} {
		if len(some) > 0 {
			return some
		}
	}
	return nodes
}

func addTaken(all []evict.Taken) (sum evict.Taken) {
	for _, t := range all {
		sum.Leases += t.Leases
		sum.Claims += t.Claims
		sum.Reservations += t.Reservations
		sum.Pools += t.Pools
		sum.Endpoints += t.Endpoints
		sum.Unasked += t.Unasked
	}
	return sum
}

func (p *parts) rotateKey(r *http.Request) (any, error) {
	if p.gossip.membership == nil {
		return nil, errors.New("this agent runs with --gossip off: there is no key in use here")
	}
	rotation := gossip.Rotation{
		KV: p.session, Random: rand.Reader,
		Unacknowledged: func(ring uint32) (missing []string) {
			called := api.CallAgents(p.nodeNames())
			for _, node := range p.gossip.membership.Unacknowledged(ring) {
				missing = append(missing, called(node))
			}
			return missing
		},
		Progress: func(step string, missing []string) {
			p.log.Info("rotating the gossip's key", "step", step, "waiting for", strings.Join(missing, ","))
		},
	}
	return struct{}{}, rotation.Run(r.Context())
}
