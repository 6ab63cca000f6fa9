package main

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
)

// Routes of the node commands.
const (
	nodesRoute   = "/v1/nodes"
	drainRoute   = "/v1/node/drain" // ?name=
	evictRoute   = "/v1/node/evict" // ?name=
	membersRoute = "/v1/members"
	rotateRoute  = "/v1/key/rotate"
)

// NodeView is one node, as etcd and the gossip see it together.
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
}

// MemberView is one node as the gossip of this node alone sees it, beside
// what etcd says.
type MemberView struct {
	Node    string        `json:"node"`
	Name    string        `json:"name"` // its host's, or Node where that names several
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
	var members []cluster.Member
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
	return views, nil
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
	called := callNodes(p.nodeNames())
	for _, row := range p.rows() {
		v := MemberView{Node: row.Node, Name: called(row.Node), Etcd: "away"}
		if row.Store.Live != nil {
			v.Etcd = "connected"
		}
		if m := row.Member; m != nil {
			v.Address, v.Gossip, v.Since, v.Direct, v.RTT = m.Address.String(), string(m.Gossip), m.Since, m.Direct, m.RTT
			v.Applied, v.Parents, v.Remarks = m.Ack.Applied, m.Meta.Parents, m.Meta.Remarks()
		}
		if row.Node == p.self.Node {
			v.Applied = p.kv.Applied()
		}
		views = append(views, v)
	}
	return views, nil
}

func (p *parts) drainNode(r *http.Request) (any, error) {
	node, err := nodeCalled(p.nodeNames(), called(r))
	if err != nil {
		return nil, err
	}
	return struct{}{}, cluster.Drain(r.Context(), p.kv, node, !r.URL.Query().Has("undo"))
}

// evictNode takes as long as the fence needs to be felt.
func (p *parts) evictNode(r *http.Request) (any, error) {
	names := p.nodeNames()
	node, err := nodeCalled(names, called(r))
	if err != nil {
		return nil, err
	}
	return cluster.Evict(r.Context(), p.kv, node, cluster.EvictOptions{
		Called: callNodes(names)(node), Force: r.URL.Query().Has("force"), Ask: p.askLAN, Log: p.log,
	})
}

func (p *parts) rotateKey(r *http.Request) (any, error) {
	if p.gossip.membership == nil {
		return nil, errors.New("this agent runs with --gossip off: there is no key in use here")
	}
	rotation := cluster.Rotation{
		KV: p.session, Random: rand.Reader,
		Unacknowledged: func(ring uint32) (missing []string) {
			called := callNodes(p.nodeNames())
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
