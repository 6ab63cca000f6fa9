package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gvlan/driver/engine"
)

// Engine is a Docker engine in memory with the methods of engine.Engine, and more
// to steer it. It is safe for concurrent use.
type Engine struct {
	mu sync.Mutex // guards all of it
	events
	info       engine.Info
	plugins    []string
	networks   networks
	containers containers
	services   []engine.Service
	tasks      []engine.Task
	failures   map[string][]error
	serial     serial
}

// New returns an engine that answers, with no networks and no containers. It says
// of itself that it is Docker 28.5.2, in no swarm.
func New() *Engine {
	return &Engine{
		info: engine.Info{
			ID:         "fake",
			Hostname:   "fake",
			Version:    "28.5.2",
			APIVersion: "1.51",
			Labels:     map[string]string{},
			Swarm:      engine.Swarm{State: engine.SwarmInactive},
		},
		events:     events{watchers: map[*watcher]struct{}{}, clock: time.Unix(1_700_000_000, 0)},
		networks:   networks{},
		containers: containers{},
		failures:   map[string][]error{},
	}
}

// SetInfo changes what the engine says of itself, and tells a reload.
func (e *Engine) SetInfo(change func(*engine.Info)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.info)
	e.emit(engine.KindDaemon, engine.ActionReload, e.info.ID, map[string]string{"name": e.info.Hostname})
}

// Fail makes the next calls of a method, by its name as in "CreateNetwork", return
// these errors, one each, without doing anything.
func (e *Engine) Fail(method string, errs ...error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures[method] = append(e.failures[method], errs...)
}

// Down makes every call fail with engine.ErrUnavailable and breaks event streams,
// as a dockerd that ended does.
func (e *Engine) Down() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.down {
		e.down = true
		e.tell(e.lost())
	}
}

// Up ends Down. What happened in between is in no event.
func (e *Engine) Up() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down {
		e.down = false
		e.tell(e.connected())
	}
}

// begin locks the engine for a call of method, which may be set to fail. The caller
// unlocks in either case.
func (e *Engine) begin(ctx context.Context, method string) error {
	e.mu.Lock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.down {
		return fmt.Errorf("%s: %w", method, engine.ErrUnavailable)
	}
	if errs := e.failures[method]; len(errs) > 0 {
		e.failures[method] = errs[1:]
		return fmt.Errorf("%s: %w", method, errs[0])
	}
	return nil
}

// Ready is engine.Engine.Ready.
func (e *Engine) Ready(ctx context.Context) error {
	defer e.mu.Unlock()
	return e.begin(ctx, "Ready")
}

// Info is engine.Engine.Info.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Info"); err != nil {
		return engine.Info{}, err
	}
	info := e.info
	info.Labels = maps.Clone(info.Labels)
	info.NetworkPlugins = slices.Clone(info.NetworkPlugins)
	return info, nil
}

// SetManagedPlugins says which managed plugins the engine has.
func (e *Engine) SetManagedPlugins(names ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.plugins = slices.Clone(names)
}

// ManagedPlugins is engine.Engine.ManagedPlugins.
func (e *Engine) ManagedPlugins(ctx context.Context) ([]string, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "ManagedPlugins"); err != nil {
		return nil, err
	}
	return slices.Clone(e.plugins), nil
}

// serial counts what the engine makes.
type serial uint64

func (s *serial) next() uint64 {
	*s++
	return uint64(*s)
}

// id returns one of the form of Docker's: 64 hex digits, the first 12 of which
// tell it from others.
func (s *serial) id() string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, s.next()))
	return hex.EncodeToString(sum[:])
}

// Watch is engine.Engine.Watch. A stream that lags loses nothing.
func (e *Engine) Watch(ctx context.Context, deliver func(engine.Event)) error {
	w := &watcher{more: make(chan struct{}, 1)}
	e.mu.Lock()
	e.watchers[w] = struct{}{}
	if e.down {
		w.push(e.lost())
	} else {
		w.push(e.connected())
	}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, w)
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.more:
		}
		for _, event := range w.take() {
			deliver(event)
		}
	}
}

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
	return e.networks.list(func(n *engine.Network) bool { return n.Scope == engine.ScopeSwarm }), nil
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
