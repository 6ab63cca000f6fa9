package driver

import (
	"context"
	"net"
	"net/netip"
	"time"

	"gvlan/driver/engine"
	"gvlan/driver/link"
	"gvlan/driver/parent"
)

// Engine is this host's Docker engine as the driver needs it; *engine.Engine
// is one. No handler uses it: the engine holds its own locks while it waits
// for the plugin.
type Engine interface {
	EngineNetworks
	EngineContainers
	EngineSwarm
	Info(ctx context.Context) (engine.Info, error)
	ManagedPlugins(ctx context.Context) ([]string, error)
	Ready(ctx context.Context) error
	Watch(ctx context.Context, deliver func(engine.Event)) error
}

// EngineNetworks is the engine's networks.
type EngineNetworks interface {
	Networks(ctx context.Context, driver string) ([]engine.Network, error)
	Network(ctx context.Context, id string) (engine.Network, error)
	CreateNetwork(ctx context.Context, r engine.NetworkRequest) (string, error)
	RemoveNetwork(ctx context.Context, id string) error
}

// EngineContainers is the engine's containers.
type EngineContainers interface {
	Containers(ctx context.Context) ([]engine.Container, error)
	Container(ctx context.Context, id string) (engine.ContainerDetail, error)
	Connect(ctx context.Context, network, container string, settings engine.EndpointSettings) error
	Disconnect(ctx context.Context, network, container string, force bool) error
	StartContainer(ctx context.Context, id string) error
}

// EngineSwarm is what a manager's engine knows of the swarm.
type EngineSwarm interface {
	SwarmNetworks(ctx context.Context) ([]engine.Network, error)
	Services(ctx context.Context) ([]engine.Service, error)
	Tasks(ctx context.Context) ([]engine.Task, error)
}

// Links is the kernel's links as the driver needs them; *link.Kernel is one.
type Links interface {
	parent.Links
	// RemoveStale deletes links of ours on a parent that hold a MAC or
	// address and that no live endpoint owns.
	RemoveStale(ctx context.Context, parent string, mac net.HardwareAddr, addr netip.Addr, live func(name, owner string) bool) ([]string, error)
	// Read gives a link of this host.
	Read(ctx context.Context, name string) (link.Link, error)
}

// followLinks keeps what networks hang from, and has this node described anew
// when the host's links changed.
func (d *Driver) followLinks(ctx context.Context) error { return d.parents.Follow(ctx, d.poke) }

// resyncEvery is how often replicas and names are looked at without being
// told to: events are lossy.
const resyncEvery = 30 * time.Second

// followEngine turns the engine's events into looks at the engine.
func (d *Driver) followEngine(ctx context.Context) error {
	err := d.cfg.Engine.Watch(ctx, d.engineEvent)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) engineEvent(ev engine.Event) {
	switch {
	case ev.Kind == engine.KindStream && ev.Action == engine.ActionLost:
		d.seen.lost()
		return
	case ev.Kind == engine.KindStream, ev.Kind == engine.KindDaemon:
		d.seen.back()
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionPrune:
		d.seen.prune(ev.Time, d.now())
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionDestroy:
		d.seen.destroy(ev.Time, d.now())
	case ev.Kind == engine.KindContainer && (ev.Action == engine.ActionRename || ev.Action == engine.ActionHealthy || ev.Action == engine.ActionUnhealthy):
		d.names.stale(ev.ID)
	case ev.Kind == engine.KindContainer && ev.Action == engine.ActionKill:
		d.names.stopping(ev.ID, ev.Attributes["signal"])
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionConnect:
		d.names.stale(ev.Attributes["container"])
	}
	d.stopped.event(ev)
	d.poke()
	d.names.poke()
}
