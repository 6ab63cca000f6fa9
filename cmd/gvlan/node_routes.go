package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
)

// Routes of the node commands.
const (
	nodesRoute   = "/v1/nodes"
	nodeRoute    = "/v1/nodes/{node}"
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
	Address string        `json:"address"`
	Gossip  string        `json:"gossip"` // alive, left, failed; "" when unknown to it
	Etcd    string        `json:"etcd"`   // connected or away
	Since   time.Time     `json:"since,omitzero"`
	Direct  time.Time     `json:"direct,omitzero"` // last answer to this node's own probe
	RTT     time.Duration `json:"rtt"`
}

func (p *parts) serveNodes() {
	p.status.handle("GET "+nodesRoute, p.listNodes)
	p.status.handle("GET "+membersRoute, p.listMembers)
	p.status.handle("POST "+nodeRoute+"/drain", p.drainNode)
	p.status.handle("POST "+nodeRoute+"/evict", p.evictNode)
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
			Version: described.Version, Drained: described.Drained, Evicted: row.Store.Epoch.Evicted, Epoch: row.Store.Epoch.Epoch,
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
	for _, row := range p.rows() {
		v := MemberView{Node: row.Node, Etcd: "away"}
		if row.Store.Live != nil {
			v.Etcd = "connected"
		}
		if m := row.Member; m != nil {
			v.Address, v.Gossip, v.Since, v.Direct, v.RTT = m.Address.String(), string(m.Gossip), m.Since, m.Direct, m.RTT
		}
		views = append(views, v)
	}
	return views, nil
}

// nodeCalled is the node of that name, or the only one on a host of that
// name.
func (p *parts) nodeCalled(name string) string {
	var on []string
	for _, row := range p.rows() {
		if row.Node == name {
			return name
		}
		if row.Store.Description.Host == name {
			on = append(on, row.Node)
		}
	}
	if len(on) == 1 {
		return on[0]
	}
	return name
}

func (p *parts) drainNode(r *http.Request) (any, error) {
	err := cluster.Drain(r.Context(), p.session, p.nodeCalled(r.PathValue("node")), !r.URL.Query().Has("undo"))
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("no node is called %s: gvlan node ls lists them", r.PathValue("node"))
	}
	return struct{}{}, err
}

// evictNode takes as long as the fence needs to be felt.
func (p *parts) evictNode(r *http.Request) (any, error) {
	return cluster.Evict(r.Context(), p.session, p.nodeCalled(r.PathValue("node")), cluster.EvictOptions{Force: r.URL.Query().Has("force"), Log: p.log})
}

func (p *parts) rotateKey(r *http.Request) (any, error) {
	if p.gossip.membership == nil {
		return nil, errors.New("this agent runs with --gossip off: there is no key in use here")
	}
	rotation := cluster.Rotation{
		KV: p.session, Unacknowledged: p.gossip.membership.Unacknowledged, Random: rand.Reader,
		Progress: func(step string, missing []string) {
			p.log.Info("rotating the gossip's key", "step", step, "waiting for", strings.Join(missing, ","))
		},
	}
	return struct{}{}, rotation.Run(r.Context())
}
