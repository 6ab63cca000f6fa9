package driver

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/command"
	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/fixed"
	"gvlan/driver/host"
	"gvlan/driver/hostaccess"
	"gvlan/driver/hostroute"
	"gvlan/driver/network"
	"gvlan/driver/publish"
	"gvlan/driver/reconcile"
)

// Driver is the networks and endpoints of this host: its services over one Host,
// each of which uses those before it only.
type Driver struct {
	*host.Host
	*endpoint.Sandboxes
	*fixed.Keeper
	*endpoint.Endpoints
	*publish.Containers
	*publish.Node
	*network.Networks
	*network.Swarm
	*network.Imports
	*network.Replicas
	*reconcile.Reconciler
	*hostaccess.Access
	*hostroute.Routes
	*command.Commands
}

// New makes the services, and reads what is kept of the engine's labels. Nothing
// runs until Run.
func New(cfg host.Config) (*Driver, error) {
	h, err := host.New(cfg)
	if err != nil {
		return nil, err
	}
	d := &Driver{Host: h}
	d.Sandboxes = endpoint.NewSandboxes(h)
	d.Keeper = fixed.New(h, func(ctx context.Context, id string) {
		d.Containers.Publish(ctx, id)
		host.Tell(h.Reach)
	})
	d.Endpoints = endpoint.NewEndpoints(h, d.Sandboxes, d.Keeper)
	d.Containers = publish.NewContainers(h, d.Sandboxes, d.Endpoints)
	d.Node = publish.NewNode(h)
	d.Networks = network.NewNetworks(h)
	d.Swarm = network.NewSwarm(h, d.Containers, d.Networks)
	d.Imports = network.NewImports(h)
	d.Replicas = network.NewReplicas(h, d.Sandboxes, d.Containers, d.Node, d.Networks, d.Swarm)
	d.Reconciler = reconcile.New(h, d.Endpoints, d.Networks, d.Swarm, d.Imports, d.Replicas)
	d.Access = hostaccess.New(h)
	d.Routes = hostroute.New(h)
	d.Commands = command.New(h, d.Containers, d.Networks, d.Swarm, d.Replicas, d.Reconciler, d.Access, d.Routes, d.Keeper, d.Sandboxes)
	d.Tables.Tell(d.Poke, d.KeepOutAll, func() { host.Tell(h.Ways) })
	return d, nil
}

// Run does everything that is not an answer to Docker, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	err := d.Node.LookAtOwn(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read this host's addresses: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{
		d.Sandboxes.ReopenSandboxes, d.followEngine, d.pokeLater, d.followStore, d.Replicas.SyncReplicas, d.Containers.SyncNames, d.Node.PublishNode, d.Reconciler.ReconcileForever, d.followLinks, d.Sandboxes.AnnounceJoined, d.Sandboxes.HeedJoined, d.Sandboxes.LookInside, d.Access.Keep, d.Routes.Keep, d.Keeper.KeepFixed,
	} {
		group.Go(func() error { return loop(ctx) })
	}
	return group.Wait()
}

// followLinks keeps what networks hang from, and has this node described anew
// when the host's links changed.
func (d *Driver) followLinks(ctx context.Context) error { return d.Parents.Follow(ctx, d.Poke) }

// followEngine turns the engine's events into looks at the engine.
func (d *Driver) followEngine(ctx context.Context) error {
	err := d.Cfg.Engine.Watch(ctx, d.engineEvent)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) engineEvent(ev engine.Event) {
	d.Seen.Heard(ev, d.Now())
	if ev.Kind == engine.KindStream && ev.Action == engine.ActionLost {
		return // there is nothing to look at
	}
	d.Containers.Heard(ev)
	d.Node.Heard(ev)
	if ev.Kind == engine.KindContainer && ev.Action == engine.ActionCreate {
		host.Tell(d.Later)
		return // it has no endpoint, and so no names
	}
	if ev.Kind == engine.KindContainer || ev.Action == engine.ActionConnect || ev.Action == engine.ActionDisconnect {
		host.Tell(d.Later)
	} else {
		d.Poke()
	}
	d.Refresh()
}

// burst is how long after an event of a container networks and what this node
// says of itself are looked at: a start or a stop makes three or four of them,
// and each look would take its time from the very start.
const burst = 300 * time.Millisecond

// pokeLater has one look follow a burst.
func (d *Driver) pokeLater(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.Later:
		}
		if !store.Sleep(ctx, burst) {
			return nil
		}
		d.Poke()
	}
}

// followStore keeps the driver's tables.
func (d *Driver) followStore(ctx context.Context) error { return d.Tables.Run(ctx, d.Cfg.KV) }
