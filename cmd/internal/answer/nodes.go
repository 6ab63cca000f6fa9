package answer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/description"
	"gvlan/cluster/events"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/members"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/ipam/evict"
)

// Nodes answers the node, members and key commands.
type Nodes struct {
	Roster  Roster
	Records *Records
	Session *session.Session
	Ask     evict.Ask // the LAN
	Events  events.Teller
	Own     *hosting.Store // nil: the store is somebody else's, and gives no certificates
	Client  *etcd.Client
	Log     *slog.Logger
}

// Register adds the routes of the node, members and key commands to the
// server.
func (a Nodes) Register(server *api.Server) {
	server.Handle("GET "+api.NodesRoute, a.list)
	server.Handle("GET "+api.MembersRoute, a.members)
	server.Handle("POST "+api.DrainRoute, a.drain)
	server.Handle("POST "+api.EvictRoute, a.evict)
	server.Handle("POST "+api.RotateRoute, a.rotateKey)
}

// errUncounted: nobody wants to know how many endpoints there are.
var errUncounted = errors.New("not counted")

// list answers from memory, and counts endpoints only when etcd answers: people
// ask for it most while etcd does not.
func (a Nodes) list(r *http.Request) (any, error) {
	has, err := map[string]int(nil), errUncounted
	if !r.URL.Query().Has("known") {
		has, err = a.Records.endpointsByNode(r.Context())
	}
	stale := err != nil || !a.Roster.Directory.Known().Fresh
	views := []api.NodeView{}
	for _, row := range a.Roster.Rows() {
		view := nodeView(row)
		view.Stale = stale
		if err == nil {
			count := has[row.Node]
			view.Endpoints = &count
		}
		views = append(views, view)
	}
	hosts := api.HostViews(views)
	slices.SortStableFunc(hosts, func(a, b api.NodeView) int { return strings.Compare(a.Called(), b.Called()) })
	return hosts, nil
}

// nodeView is one node as this host sees it.
func nodeView(row cluster.Row) api.NodeView {
	described := row.Store.Description
	return api.NodeView{
		Node: row.Node, Host: described.Host, Address: described.Address, State: string(row.State), Since: row.Since,
		Version: described.Version, Stopped: row.Stopped, Drained: described.Drained, Evicted: row.Store.Epoch.Evicted, Epoch: row.Store.Epoch.Epoch,
		Interfaces: described.Interfaces, Networks: described.Networks, StaleParents: row.StaleParents,
	}
}

func (a Nodes) members(*http.Request) (any, error) {
	views := []api.MemberView{}
	called := api.CallAgents(a.Roster.Names())
	for _, row := range a.Roster.Rows() {
		v := api.MemberView{Node: row.Node, Name: called(row.Node), Etcd: "away"}
		if row.Store.Live != nil {
			v.Etcd = "connected"
		}
		if m := row.Member; m != nil {
			v.Address, v.Gossip, v.Since, v.Direct, v.RTT = m.Address.String(), string(m.Standing), m.Since, m.Direct, m.RTT
			v.Applied, v.Parents, v.Remarks = m.Ack.Applied, m.Meta.Parents, m.Meta.Remarks()
			if !m.Ack.Clock.IsZero() {
				v.ClockAhead = &m.Ahead
			}
		}
		if row.Node == a.Roster.Self {
			v.Applied = a.Roster.Directory.Known().Revision
		}
		views = append(views, v)
	}
	return views, nil
}

// drain drains both agents of a host.
func (a Nodes) drain(r *http.Request) (any, error) {
	nodes, err := api.NodesCalled(a.Roster.Names(), api.NameIn(r))
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		err = errors.Join(err, description.Drain(r.Context(), a.Session, node, !r.URL.Query().Has("undo")))
	}
	return struct{}{}, err
}

// evict answers after evict.DefaultWait: only then does the node's agent, if it
// still runs anywhere, know that it lost its place.
func (a Nodes) evict(r *http.Request) (any, error) {
	names, force := a.Roster.Names(), r.URL.Query().Has("force")
	nodes, err := api.NodesCalled(names, api.NameIn(r))
	if err != nil {
		return nil, err
	}
	nodes = toEvict(a.Roster.Rows(), nodes)
	if a.Own != nil {
		if err := sparesVoters(r.Context(), a.Session, nodes, api.CallNodes(names)); err != nil {
			return nil, err
		}
	}
	taken := make([]evict.Taken, len(nodes))
	var evictions errgroup.Group
	for i, node := range nodes {
		evictions.Go(func() (err error) {
			taken[i], err = evict.Node(r.Context(), a.Session, node, evict.Options{
				Events: a.Events,
				Called: api.CallAgents(names)(node), Force: force, Grant: a.Session.Grant, Ask: a.Ask, Log: a.Log,
				Fenced: func(ctx context.Context) error { return a.revoke(ctx, node) },
			})
			return err
		})
	}
	err = evictions.Wait()
	return addTaken(taken), err
}

// revoke ends the certificates of a node that was fenced, so that its host, or
// who took it, reaches the store no more.
func (a Nodes) revoke(ctx context.Context, node string) error {
	if a.Own == nil {
		return nil
	}
	keeper, err := join.Revoke(ctx, a.Session, node)
	err = errors.Join(err, a.Own.Expel(ctx, a.Client, node))
	if err == nil && keeper {
		a.Log.Warn("the evicted node had the cluster's keys: its join token and its authority are replaced, by themselves; `gvlan token show` has the new token", "node", node)
	}
	return err
}

// sparesVoters refuses to evict every voter of the cluster's own store: nothing
// could be written any more, the rest of the eviction neither.
func sparesVoters(ctx context.Context, kv store.KV, nodes []string, called func(string) string) error {
	records, err := members.Records(ctx, kv)
	if err != nil {
		return err
	}
	var voters []string
	for _, m := range records {
		switch {
		case m.Learner:
		case !slices.Contains(nodes, m.Node):
			return nil
		default:
			voters = append(voters, called(m.Node))
		}
	}
	if len(voters) == 0 {
		return nil // the steward has not written who they are yet
	}
	host := strings.Join(voters, ", ")
	return fmt.Errorf("%s keeps the cluster's only voting copy of the store, which would be lost: let another host take over first "+
		"(gvlan node drain %s, until gvlan store ls shows another leader), or end this cluster (gvlan leave, on each host)", host, host)
}

// toEvict are the nodes of a host to evict: those that are not connected where
// there are any, because one agent may be gone for good while the other runs,
// else those that are. A node whose eviction ended is left out where another is
// left.
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

func (a Nodes) rotateKey(r *http.Request) (any, error) {
	if a.Roster.Peers == nil {
		return nil, errors.New("this agent runs with --gossip off: there is no key in use here")
	}
	rotation := gossip.Rotation{
		KV: a.Session, Random: rand.Reader,
		Unacknowledged: func(ring uint32) (missing []string) {
			called := api.CallAgents(a.Roster.Names())
			for _, node := range a.Roster.Peers.Unacknowledged(ring) {
				missing = append(missing, called(node))
			}
			return missing
		},
		Progress: func(step string, missing []string) {
			a.Log.Info("rotating the gossip's key", "step", step, "waiting", strings.Join(missing, ","))
		},
	}
	return struct{}{}, rotation.Run(r.Context())
}

// Roster is which nodes there are: as etcd describes them, and who of them
// answers now.
type Roster struct {
	Self      string // this node
	Directory *cluster.Directory
	Peers     *gossip.Membership // nil with --gossip off
}

// Rows are all nodes from both sides.
func (r Roster) Rows() []cluster.Row {
	var members []gossip.Member
	if r.Peers != nil {
		members = r.Peers.Members()
	}
	return cluster.View(r.Directory.Known(), members)
}

// Names are those of every node.
func (r Roster) Names() []api.NodeName { return namesOf(r.Rows()) }

func namesOf(rows []cluster.Row) []api.NodeName {
	var all []api.NodeName
	for _, row := range rows {
		all = append(all, api.NodeName{Node: row.Node, Host: row.Store.Description.Host, Address: row.Store.Description.Address})
	}
	return all
}

// gossip is what this agent met among its peers; nil without any.
func (r Roster) gossip() *api.GossipStatus {
	if r.Peers == nil {
		return nil
	}
	c := r.Peers.Counters()
	return &api.GossipStatus{
		Answering: r.Peers.Answering(), RefusedKey: c.RefusedKey, RefusedCluster: c.RefusedCluster, RefusedNode: c.RefusedNode,
		UDPBlocked: c.UDPBlocked, Flaps: c.Flaps,
	}
}
