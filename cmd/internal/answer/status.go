package answer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/driver"
	"gvlan/driver/command"
	"gvlan/driver/host"
	"gvlan/ipam"
)

// Status answers `gvlan status`.
type Status struct {
	Roster    Roster
	Records   *Records
	Host      string // this one's name
	Version   string
	Started   time.Time
	Solo      func() bool     // no other host shares the store
	Endpoints func() []string // where the store is looked for
	Own       *hosting.Store  // nil: the store is somebody else's
	Session   *session.Session
	Addresses *ipam.Allocator
	Driver    *driver.Driver
	Engine    host.Engine
	Others    func() []string // what is wrong with what is the agent's own: its listener, its gossip
}

// engineAnswer bounds how long a status waits for the engine.
const engineAnswer = 2 * time.Second

// Register adds the route of `gvlan status` to the server.
func (a Status) Register(server *api.Server) {
	server.Handle("GET "+api.StatusRoute, func(r *http.Request) (any, error) { return a.status(r.Context()), nil })
}

// status answers within two seconds, whether or not etcd and the engine do.
func (a Status) status(ctx context.Context) api.Status {
	unreached := make(chan error, 1)
	go func() { unreached <- a.etcdNow(ctx) }() // beside the engine: neither waits for the other
	rows, known := a.Roster.Rows(), a.Roster.Directory.Known()
	names, self := namesOf(rows), known.Nodes[a.Roster.Self].Description
	s := api.Status{
		Node: a.Roster.Self, Host: a.Host, Version: a.Version, Started: a.Started,
		Cluster: a.Session.Cluster(), Solo: a.Solo(),
		Etcd:            api.EtcdStatus{Endpoints: a.Endpoints(), Trusted: true},
		Gossip:          a.Roster.gossip(),
		Hosts:           hostsStatus(rows),
		Store:           a.members(api.CallNodes(names)),
		Parents:         parentsStatus(self),
		Networks:        a.networks(self),
		Defined:         definedStatus(a.Driver.Progress()),
		PendingReleases: a.Addresses.Pending(), Warnings: a.Driver.Warnings(), Hints: a.Driver.Hints(), FailedStarts: []string{},
	}
	for _, c := range a.Addresses.Conflicts() {
		s.Warnings = append(s.Warnings, a.conflictWarning(c))
	}
	s.Warnings = append(s.Warnings, a.Addresses.Foreign().Warnings()...)
	s.Warnings = append(s.Warnings, a.Others()...)
	if a.Own != nil {
		s.Warnings = append(s.Warnings, a.Own.Warnings(api.CallNodes(names))...)
	}
	a.engineNow(ctx, &s)
	if err := <-unreached; err != nil {
		s.Etcd.Trusted, s.Etcd.Why = false, err.Error()
		s.Etcd.Asks = errors.Is(err, store.ErrSuspect) || errors.Is(err, store.ErrForeign)
	}
	last, _ := a.Records.last(known)
	s.Problems = found{status: s, rows: rows, called: api.CallAgents(names), fresh: known.Fresh && s.Etcd.Trusted, networks: last.views()}.problems()
	return s
}

// members are those of the cluster's own store, as they were at the last look.
func (a Status) members(called func(node string) string) []api.StoreStatus {
	all := []api.StoreStatus{}
	if a.Own == nil {
		return all
	}
	view, _ := a.Own.Health()
	for _, m := range view.Members {
		row := api.StoreStatus{Host: called(m.Node), Role: "voter", Answers: m.Answers}
		switch {
		case m.Learner:
			row.Role = "learner"
		case m.Leader:
			row.Role = "leader"
		}
		all = append(all, row)
	}
	slices.SortFunc(all, func(x, y api.StoreStatus) int { return cmp.Compare(x.Host, y.Host) })
	return all
}

// hostsStatus are the hosts of the cluster, each as its worse agent fares.
func hostsStatus(rows []cluster.Row) []api.HostStatus {
	var views []api.NodeView
	for _, row := range rows {
		views = append(views, nodeView(row))
	}
	hosts := []api.HostStatus{}
	for _, v := range api.HostViews(views) {
		worse := v.Worse()
		hosts = append(hosts, api.HostStatus{Host: v.Called(), State: worse.State, Stopped: worse.Stopped, Since: worse.Since})
	}
	slices.SortFunc(hosts, func(x, y api.HostStatus) int { return cmp.Compare(x.Host, y.Host) })
	return hosts
}

// parentsStatus are the interfaces of a host that a network would hang from now.
func parentsStatus(self store.Node) []api.ParentStatus {
	parents := []api.ParentStatus{}
	for _, n := range self.Networks {
		if n.Parent == "" {
			continue
		}
		i := slices.IndexFunc(parents, func(p api.ParentStatus) bool { return p.Name == n.Parent })
		if i < 0 {
			i = len(parents)
			parents = append(parents, api.ParentStatus{Name: n.Parent})
		}
		parents[i].Networks = append(parents[i].Networks, n.Name)
	}
	for i := range parents {
		for _, link := range self.Interfaces {
			if link.Name == parents[i].Name {
				parents[i].Up, parents[i].MTU = link.Up, link.MTU
			}
		}
	}
	slices.SortFunc(parents, func(x, y api.ParentStatus) int { return cmp.Compare(x.Name, y.Name) })
	return parents
}

// networks are those of this host, with how full they are.
func (a Status) networks(self store.Node) []api.NetworkStatus {
	pools := map[string][]api.PoolStatus{} // by the engine's id
	for _, u := range a.Addresses.Usage() {
		pools[u.Network] = append(pools[u.Network], poolStatus(u))
	}
	networks := []api.NetworkStatus{}
	for _, n := range a.Driver.Report() {
		networks = append(networks, networkStatus(n, self, pools[n.ID]))
	}
	slices.SortFunc(networks, func(x, y api.NetworkStatus) int { return cmp.Compare(x.Name, y.Name) })
	return networks
}

func poolStatus(u ipam.Usage) api.PoolStatus {
	p := api.PoolStatus{Subnet: u.Subnet.String(), Used: u.Used, Free: u.Free, Resting: u.Resting}
	if bits := u.Subnet.Addr().BitLen() - u.Subnet.Bits(); bits <= 32 {
		p.Reserved = 1<<bits - u.Used - u.Free - u.Resting
	}
	return p
}

// engineNow adds what the engine says.
func (a Status) engineNow(ctx context.Context, s *api.Status) {
	ctx, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	if info, err := a.Engine.Info(ctx); err != nil {
		s.Engine.Why = err.Error()
	} else {
		s.Engine.Version = info.Version
	}
	if failed, err := a.Driver.FailedStarts(ctx); err == nil {
		for _, c := range failed {
			s.FailedStarts = append(s.FailedStarts, c.Name)
		}
	}
}

// conflictWarning says which address of this node's somebody else has, and
// what to do.
func (a Status) conflictWarning(c ipam.Conflict) string {
	if c.Endpoint == "" {
		return fmt.Sprintf("address %s is reserved for a network here and is %s: stop that container", c.Address, c.Holder)
	}
	return fmt.Sprintf("address %s of %s is %s as well: its link here is down; stop one of the two, then start the one here again",
		c.Address, a.Driver.Called(c.Endpoint), c.Holder)
}

func definedStatus(p command.Progress) api.DefinedStatus {
	return api.DefinedStatus{Networks: p.Defined, Made: p.Made, Failed: p.Failed}
}

func networkStatus(n command.NetworkReport, self store.Node, pools []api.PoolStatus) api.NetworkStatus {
	s := api.NetworkStatus{
		Name: n.Name, UUID: n.UUID, Scope: n.Scope, State: string(n.Stage), Why: n.Why, Endpoints: n.Endpoints,
		Subnets: []string{}, Pools: append([]api.PoolStatus{}, pools...),
	}
	for _, described := range self.Networks {
		if described.Engine == n.ID {
			s.Parent = described.Parent
		}
	}
	if len(n.Parents) > 0 { // links stay where they are when another would be chosen
		s.Parent = n.Parents[0]
	}
	for _, pool := range n.Pools {
		s.Subnets = append(s.Subnets, pool.Subnet.String())
	}
	return s
}

// etcdNow is why no new address would be given now, nil when one would be. It
// asks etcd, because the session knows only how its last call ended.
func (a Status) etcdNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	if err := a.Session.Trusted(); err != nil {
		return err
	}
	_, err := a.Session.Get(ctx, store.MetaKey())
	if said, ok := errors.AsType[*etcd.RequestError](err); ok {
		return said // without the request it was the answer to
	}
	return err
}
