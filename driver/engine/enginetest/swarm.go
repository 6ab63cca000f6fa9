package enginetest

import (
	"context"
	"fmt"
	"slices"

	"gvlan/driver/engine"
)

// SetSwarm makes the engine a manager that knows these services and tasks. Their
// networks are added by AddNetwork, with engine.ScopeSwarm.
func (e *Engine) SetSwarm(services []engine.Service, tasks []engine.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.info.Swarm = engine.Swarm{State: engine.SwarmManager, NodeID: "fakenode", ClusterID: "fakecluster"}
	e.services, e.tasks = slices.Clone(services), slices.Clone(tasks)
}

// SwarmNetworks is engine.Engine.SwarmNetworks.
func (e *Engine) SwarmNetworks(ctx context.Context) ([]engine.Network, error) {
	defer e.mu.Unlock()
	if err := e.beginCluster(ctx, "SwarmNetworks"); err != nil {
		return nil, err
	}
	return e.listNetworks(func(n *engine.Network) bool { return n.Scope == engine.ScopeSwarm }), nil
}

// Services is engine.Engine.Services.
func (e *Engine) Services(ctx context.Context) ([]engine.Service, error) {
	defer e.mu.Unlock()
	if err := e.beginCluster(ctx, "Services"); err != nil {
		return nil, err
	}
	return slices.Clone(e.services), nil
}

// Tasks is engine.Engine.Tasks.
func (e *Engine) Tasks(ctx context.Context) ([]engine.Task, error) {
	defer e.mu.Unlock()
	if err := e.beginCluster(ctx, "Tasks"); err != nil {
		return nil, err
	}
	return slices.Clone(e.tasks), nil
}

func (e *Engine) beginCluster(ctx context.Context, method string) error {
	if err := e.begin(ctx, method); err != nil {
		return err
	}
	if e.info.Swarm.State != engine.SwarmManager {
		return fmt.Errorf("%s: %w", method, engine.ErrNotManager)
	}
	return nil
}
