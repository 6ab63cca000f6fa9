package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/cmd/internal/api"
	"gvlan/driver"
	"gvlan/ipam"
)

// serveStatusRoutes registers what operator commands ask of a running agent.
func (p *parts) serveStatusRoutes() {
	p.status.ServeStatus(p)
	p.serveNetworks()
	p.serveNodes()
	p.serveNameRoutes()
	p.status.Handle("POST "+api.RecoverRoute, p.answerRecover)
}

// engineAnswer bounds how long a status waits for the engine.
const engineAnswer = 2 * time.Second

// Status implements statusSource.
func (p *parts) Status(ctx context.Context) (api.Status, error) {
	etcd := make(chan error, 1)
	go func() { etcd <- p.etcdNow(ctx) }() // beside the engine: neither waits for the other
	s := api.Status{
		Node: p.self.Node, Host: p.self.Host, Version: p.version, Started: p.started,
		Cluster: p.session.Cluster(), Solo: p.solo(),
		Etcd:            api.EtcdStatus{Endpoints: p.truth.endpoints, Trusted: true},
		PendingReleases: p.addresses.Pending(), Warnings: p.driver.Warnings(),
	}
	for _, c := range p.addresses.Conflicts() {
		s.Warnings = append(s.Warnings, p.conflictWarning(c))
	}
	s.Gossip = p.gossip.status()
	p.engineNow(ctx, &s)
	for _, n := range p.driver.Report() {
		s.Networks = append(s.Networks, networkStatus(n))
	}
	if err := <-etcd; err != nil {
		s.Etcd.Trusted, s.Etcd.Why = false, err.Error()
	}
	return s, nil
}

// engineNow adds what the engine says.
func (p *parts) engineNow(ctx context.Context, s *api.Status) {
	ctx, cancel := context.WithTimeout(ctx, engineAnswer)
	defer cancel()
	if info, err := p.engine.Info(ctx); err != nil {
		s.Engine.Why = err.Error()
	} else {
		s.Engine.Version = info.Version
	}
	if failed, err := p.driver.FailedStarts(ctx); err == nil {
		for _, c := range failed {
			s.FailedStarts = append(s.FailedStarts, c.Name)
		}
	}
}

// conflictWarning says what somebody else has of this node's, and the way out.
func (p *parts) conflictWarning(c ipam.Conflict) string {
	if c.Endpoint == "" {
		return fmt.Sprintf("address %s is reserved for a network here and is %s: stop that container", c.Address, c.Holder)
	}
	return fmt.Sprintf("address %s of %s is %s as well: its link here is down; stop one of the two, then start the one here again",
		c.Address, p.driver.Called(c.Endpoint), c.Holder)
}

func networkStatus(n driver.NetworkReport) api.NetworkStatus {
	s := api.NetworkStatus{Name: n.Name, UUID: n.UUID, Scope: n.Scope, State: string(n.Stage), Why: n.Why, Endpoints: n.Endpoints}
	if len(n.Parents) > 0 {
		s.Parent = n.Parents[0]
	}
	for _, pool := range n.Pools {
		s.Subnets = append(s.Subnets, pool.Subnet.String())
	}
	return s
}

// etcdNow is why no new address would be given now: the session knows only
// what its last call met.
func (p *parts) etcdNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	if err := p.session.Trusted(); err != nil {
		return cmp.Or(p.truth.checkJoin(ctx), err)
	}
	_, err := p.session.Get(ctx, store.MetaKey())
	if said, ok := errors.AsType[*etcd.RequestError](err); ok {
		return said // which request it was is of no interest
	}
	return err
}
