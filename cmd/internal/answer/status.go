package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

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
	s := api.Status{
		Node: a.Roster.Self, Host: a.Host, Version: a.Version, Started: a.Started,
		Cluster: a.Session.Cluster(), Solo: a.Solo(),
		Etcd:            api.EtcdStatus{Endpoints: a.Endpoints(), Trusted: true},
		Defined:         definedStatus(a.Driver.Progress()),
		PendingReleases: a.Addresses.Pending(), Warnings: a.Driver.Warnings(),
	}
	for _, c := range a.Addresses.Conflicts() {
		s.Warnings = append(s.Warnings, a.conflictWarning(c))
	}
	if a.Own != nil {
		s.Warnings = append(s.Warnings, a.Own.Warnings(api.CallNodes(a.Roster.Names()))...)
	}
	s.Gossip = a.Roster.gossip()
	a.engineNow(ctx, &s)
	for _, n := range a.Driver.Report() {
		s.Networks = append(s.Networks, networkStatus(n))
	}
	if err := <-unreached; err != nil {
		s.Etcd.Trusted, s.Etcd.Why = false, err.Error()
		s.Etcd.Asks = errors.Is(err, store.ErrSuspect) || errors.Is(err, store.ErrForeign)
	}
	return s
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

func networkStatus(n command.NetworkReport) api.NetworkStatus {
	s := api.NetworkStatus{Name: n.Name, UUID: n.UUID, Scope: n.Scope, State: string(n.Stage), Why: n.Why, Endpoints: n.Endpoints}
	if len(n.Parents) > 0 {
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
