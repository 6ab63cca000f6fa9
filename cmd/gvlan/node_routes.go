package main

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
	"gvlan/ipam/evict"
)

// Routes of the node commands.
const (
	nodesRoute   = "/v1/nodes"
	drainRoute   = "/v1/node/drain" // ?name=
	evictRoute   = "/v1/node/evict" // ?name=
	membersRoute = "/v1/members"
	rotateRoute  = "/v1/key/rotate"
)

// NodeView is one node, as etcd and the gossip see it together. A host that
// runs both agents is the view of its socket agent, with the other's inside.
type NodeView struct {
	Node       string              `json:"node"`
	Host       string              `json:"host"`
	Address    string              `json:"address"`
	State      string              `json:"state"`
	Since      time.Time           `json:"since,omitzero"`
	Version    string              `json:"version"`
	Stopped    bool                `json:"stopped"` // it is down because its agent was stopped
	Drained    bool                `json:"drained"`
	Evicted    bool                `json:"evicted"`
	Epoch      int64               `json:"epoch"`
	Endpoints  *int                `json:"endpoints"` // nil while etcd does not answer this host
	Interfaces []store.Interface   `json:"interfaces,omitempty"`
	Networks   []store.NodeNetwork `json:"networks,omitempty"`
	// StaleParents: the node tells its peers of other interfaces than its
	// record lists.
	StaleParents bool `json:"staleParents,omitempty"`
	// Stale: etcd does not answer this host, so whether the node is connected
	// is what etcd said last.
	Stale bool `json:"stale,omitempty"`
	// Swarm is the managed plugin beside this socket agent.
	Swarm *NodeView `json:"swarm,omitempty"`
}

// MemberView is one node as the gossip of this node alone sees it, beside
// what etcd says.
type MemberView struct {
	Node    string        `json:"node"`
	Name    string        `json:"name"` // its host's, with "(swarm)" for the plugin beside a socket agent; Node where that names several
	Address string        `json:"address"`
	Gossip  string        `json:"gossip"` // alive, left, failed; "" when unknown to it
	Etcd    string        `json:"etcd"`   // connected or away
	Since   time.Time     `json:"since,omitzero"`
	Direct  time.Time     `json:"direct,omitzero"` // last answer to this node's own probe
	RTT     time.Duration `json:"rtt"`
	// Applied is how far it had followed etcd by its last answer.
	Applied store.Revision `json:"applied"`
	// Parents is the digest of its interfaces that it tells its peers.
	Parents uint64 `json:"parents,string"`
	// Remarks are what else it tells its peers of itself.
	Remarks []string `json:"remarks,omitempty"`
}

func (p *parts) serveNodes() {
	p.status.handle("GET "+nodesRoute, p.listNodes)
	p.status.handle("GET "+membersRoute, p.listMembers)
	p.status.handle("POST "+drainRoute, p.drainNode)
	p.status.handle("POST "+evictRoute, p.evictNode)
	p.status.handle("POST "+rotateRoute, p.rotateKey)
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
	views := []NodeView{}
	for _, row := range p.rows() {
		described := row.Store.Description
		view := NodeView{
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
	return hostViews(views), nil
}

// hostViews makes one view of the agents of one host.
func hostViews(nodes []NodeView) []NodeView {
	views, names := map[string]NodeView{}, []nodeName{}
	for _, v := range nodes {
		views[v.Node] = v
		names = append(names, nodeName{node: v.Node, host: v.Host, address: v.Address})
	}
	hosts := []NodeView{}
	for _, agents := range byHost(names) {
		host := views[agents[0].node]
		if len(agents) > 1 {
			plugin := views[agents[1].node]
			host.Host, host.Swarm = hostOf(agents), &plugin
		}
		hosts = append(hosts, host)
	}
	return hosts
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
	views := []MemberView{}
	called := callAgents(p.nodeNames())
	for _, row := range p.rows() {
		v := MemberView{Node: row.Node, Name: called(row.Node), Etcd: "away"}
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
	nodes, err := nodesCalled(p.nodeNames(), called(r))
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
	nodes, err := nodesCalled(names, called(r))
	if err != nil {
		return nil, err
	}
	nodes = toEvict(p.rows(), nodes)
	taken := make([]evict.Taken, len(nodes))
	var evictions errgroup.Group
	for i, node := range nodes {
		evictions.Go(func() (err error) {
			taken[i], err = evict.Node(r.Context(), p.session, node, evict.Options{
				Called: callAgents(names)(node), Force: force, Grant: p.session.Grant, Ask: p.askLAN, Log: p.log,
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
			called := callAgents(p.nodeNames())
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
