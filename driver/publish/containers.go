package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
)

// Containers is what this host tells the cluster of its containers: their
// endpoints' records.
type Containers struct {
	*host.Host
	sandboxes *endpoint.Sandboxes
	endpoints *endpoint.Endpoints
	Names     *names
	Unheeded  unheeded // what has no effect on this host's networks
}

// NewContainers has published nothing yet.
func NewContainers(h *host.Host, s *endpoint.Sandboxes, e *endpoint.Endpoints) *Containers {
	return &Containers{Host: h, sandboxes: s, endpoints: e, Names: newNames()}
}

// asking bounds how many containers are inspected at once: the engine answers
// an inspect only when the container's start or stop is over.
const asking = 4

// names is what must be learned or written about endpoints: container names
// reach gvlan from the engine only, after the handlers are done.
type names struct {
	wake chan struct{}

	mu        sync.Mutex
	renamed   map[string]bool           // containers to ask again
	signalled []signalled               // containers that may be stopping
	published map[string]store.Endpoint // what the store holds, as far as known
	epoch     int64                     // that was published in: another one may be of a store that was lost
}

func newNames() *names {
	return &names{wake: make(chan struct{}, 1), renamed: map[string]bool{}, published: map[string]store.Endpoint{}}
}

func (s *names) poke() { host.Tell(s.wake) }

// Stale asks for a container to be inspected again.
func (s *names) Stale(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renamed[container] = true
}

// TakeStale gives, once, the containers that must be inspected again.
func (s *names) TakeStale() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.renamed
	s.renamed = map[string]bool{}
	return was
}

// SyncNames learns what containers are called and keeps the endpoints'
// records in the store true, until ctx ends.
func (cs *Containers) SyncNames(ctx context.Context) error {
	tick := time.NewTicker(host.ResyncEvery)
	defer tick.Stop()
	for {
		// What is stopped loses names before anything is asked, which may wait.
		stopping := cs.Names.takeSignalled()
		unknown, early := cs.withdrawStopping(stopping)
		if len(unknown) < len(stopping) {
			cs.publishEndpoints(ctx)
		}
		learned := cs.LearnNames(ctx)
		_, late := cs.withdrawStopping(unknown) // they may be known by now
		cs.Troubles.Settle(ctx, trouble.Matter{What: "learning what containers are called", Then: "names answer as before"}, errors.Join(early, learned, late), engine.ErrUnavailable)
		cs.publishEndpoints(ctx)
		cs.lookAtUnheeded()
		select {
		case <-ctx.Done():
			return nil
		case <-cs.Names.wake:
		case <-tick.C:
		}
	}
}

// LearnNames inspects the containers whose endpoints have no name yet or
// another one.
func (cs *Containers) LearnNames(ctx context.Context) error {
	// Taken before the containers are listed: one that an event tells of while
	// they are may be missing, and its turn is the next look. One that was told of
	// before and is not listed is gone.
	stale := cs.Names.TakeStale()
	containers, err := cs.Cfg.Engine.Containers(ctx)
	if err != nil {
		for id := range stale {
			cs.Names.Stale(id)
		}
		return err
	}
	unclaimed := cs.AdoptEndpoints(ctx, containers)
	if err := cs.endpoints.ForgetMACs(containers); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	for _, c := range containers {
		if !cs.unnamed(c, stale[c.ID]) {
			continue
		}
		group.Go(func() error {
			full, err := cs.Cfg.Engine.Container(ctx, c.ID)
			if errors.Is(err, engine.ErrNotFound) {
				return nil
			}
			if err != nil {
				cs.Names.Stale(c.ID)
				return err
			}
			err = cs.nameEndpoints(full)
			cs.publishEndpoints(ctx)
			return err
		})
	}
	return errors.Join(unclaimed, group.Wait())
}

// unnamed reports whether one of the container's endpoints here must be asked
// about.
func (cs *Containers) unnamed(c engine.Container, stale bool) bool {
	return slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool {
		e, ok := cs.Memory.Endpoint(a.EndpointID)
		return ok && (stale || awaitsHealth(e) || e.Container.ID != c.ID || e.Container.Name != c.Name)
	})
}

// nameEndpoints journals what the engine says of a container.
func (cs *Containers) nameEndpoints(c engine.ContainerDetail) error {
	var failed error
	for _, a := range c.Attachments {
		_, err := cs.Memory.KnownEndpoint(a.EndpointID, func(e *journal.Endpoint) { describe(e, c, a) })
		failed = errors.Join(failed, err)
	}
	return failed
}

// describeContainer keeps what a name needs.
func describeContainer(c engine.ContainerDetail, a engine.Attachment) store.Container {
	described := store.Container{
		ID: c.ID, Name: c.Name,
		Aliases: NameAliases(c, a),
		Labels:  nameLabels(c.Labels),
	}
	if !strings.HasPrefix(c.ID, c.Hostname) {
		described.Hostname = c.Hostname
	}
	for _, p := range c.ExposedPorts {
		described.Ports = append(described.Ports, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
	}
	return described
}

// NameAliases are the aliases without the short id that Docker adds.
func NameAliases(c engine.ContainerDetail, a engine.Attachment) []string {
	var aliases []string
	for _, alias := range a.Settings.Aliases {
		if alias != visible.ID(c.ID) && alias != c.Name && !slices.Contains(aliases, alias) {
			aliases = append(aliases, alias)
		}
	}
	return aliases
}

// nameLabels keeps the labels that names are made from.
func nameLabels(all map[string]string) map[string]string {
	kept := maps.Clone(all)
	maps.DeleteFunc(kept, func(k, _ string) bool {
		return !strings.HasPrefix(k, "com.docker.swarm.") && !strings.HasPrefix(k, "gvlan.")
	})
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// Refresh has the records compared with what is known of the containers.
func (cs *Containers) Refresh() { cs.Names.poke() }

// Heard takes an event of the engine: containers that may be called otherwise,
// or that may be stopping.
func (cs *Containers) Heard(ev engine.Event) {
	switch {
	case ev.Kind == engine.KindContainer && (ev.Action == engine.ActionRename || ev.Action == engine.ActionHealthy || ev.Action == engine.ActionUnhealthy):
		cs.Names.Stale(ev.ID)
	case ev.Kind == engine.KindContainer && ev.Action == engine.ActionKill:
		cs.Names.stopping(ev.ID, ev.Attributes["signal"])
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionConnect:
		cs.Names.Stale(ev.Attributes["container"])
	}
}

// publishEndpoints writes the records that are not what the journal says.
// A failure is tried again with the next look.
func (cs *Containers) publishEndpoints(ctx context.Context) {
	cs.Names.enter(cs.Self.Epoch())
	for _, e := range cs.Memory.Endpoints() {
		n, ok := cs.Memory.Network(e.Network)
		if !ok || n.Foreign {
			continue
		}
		if err := cs.publishEndpoint(ctx, cs.endpoints.Record(n, e)); err != nil {
			if ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
				cs.Log.Warn("an endpoint's record cannot be written: written at the next look", "endpoint", visible.ID(e.ID), "err", err)
			}
			return
		}
	}
	cs.Names.keep(cs.Memory)
}

// Publish writes one endpoint's record at once, if it is not what the journal
// says.
func (cs *Containers) Publish(ctx context.Context, id string) {
	e, known := cs.Memory.Endpoint(id)
	n, ok := cs.Memory.Network(e.Network)
	if !known || !ok || n.Foreign {
		return
	}
	if err := cs.publishEndpoint(ctx, cs.endpoints.Record(n, e)); err != nil && ctx.Err() == nil {
		cs.Names.poke() // it is written at the next look
	}
}

func (cs *Containers) publishEndpoint(ctx context.Context, want store.Endpoint) error {
	if cs.Names.has(want) {
		return nil
	}
	done, err := cs.Addresses.Describe(ctx, want)
	if done {
		cs.Names.wrote(want)
		cs.Cfg.Events.Tell(events.Event{Kind: events.Named, Endpoint: want.Endpoint, Container: want.Container.Name})
	}
	return err
}

// enter forgets what was published in another epoch.
func (s *names) enter(epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		s.epoch = epoch
		clear(s.published)
	}
}

// Republish has an endpoint's record compared again with what is known of its
// container: the record was made anew.
func (cs *Containers) Republish(id string) {
	cs.Names.forget(id)
	cs.Refresh()
}

func (s *names) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.published, id)
}

func (s *names) has(e store.Endpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, ok := s.published[e.Endpoint]
	return ok && reflect.DeepEqual(have, e)
}

func (s *names) wrote(e store.Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published[e.Endpoint] = e
}

// keep forgets endpoints that are gone.
func (s *names) keep(memory *journal.Memory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.published, func(id string, _ store.Endpoint) bool { _, ok := memory.Endpoint(id); return !ok })
}

// A task of the swarm has its own name for as long as it runs. The names of
// its service are its only while the swarm has it serve: from when it is
// healthy, or started where it has no health check, until it is stopped,
// before its grace period. The swarm tells neither to drivers; the engine of
// the task's node tells both by what happens to the container.

// The labels of a task's container.
const (
	LabelService = "com.docker.swarm.service.name"
	LabelTask    = store.LabelTask
)

// IsTask reports whether a container is a service's.
func IsTask(c store.Container) bool { return c.Labels[LabelTask] != "" }

// Serves reports whether a task's container is described as one that serves.
func Serves(c store.Container) bool { return c.Labels[LabelService] != "" }

// awaitsHealth reports whether the endpoint is of a task that is going to
// serve: events are lossy, so it is asked about at each look.
func awaitsHealth(e journal.Endpoint) bool {
	return IsTask(e.Container) && !Serves(e.Container) && !e.Stopping
}

// healthy reports whether the engine has nothing against a container's health.
func healthy(h engine.Health) bool {
	return h == engine.HealthNone || h == engine.HealthHealthy
}

// describe takes over what the engine says of the endpoint's container.
func describe(e *journal.Endpoint, c engine.ContainerDetail, a engine.Attachment) {
	e.Container, e.StopSignal = describeContainer(c, a), c.StopSignal
	if IsTask(e.Container) && (e.Stopping || !healthy(c.Health)) {
		delete(e.Container.Labels, LabelService)
	}
}

// stopping notes that a container was sent a signal.
func (s *names) stopping(container, signal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signalled = append(s.signalled, signalled{container, signal})
}

// signalled is a container and the number of a signal it was sent.
type signalled struct{ container, signal string }

func (s *names) takeSignalled() []signalled {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.signalled
	s.signalled = nil
	return was
}

// withdrawStopping takes the names of their services from tasks that are being
// stopped, and returns the containers that no endpoint is known to be of. An
// endpoint is of one life of its container, so this is for good.
func (cs *Containers) withdrawStopping(all []signalled) (unknown []signalled, failed error) {
	if len(all) == 0 {
		return nil, nil
	}
	endpoints := cs.Memory.Endpoints()
	for _, s := range all {
		known := false
		for _, e := range endpoints {
			if e.Container.ID != s.container {
				continue
			}
			known = true
			if !IsTask(e.Container) || !stops(e.StopSignal, s.signal) {
				continue
			}
			_, err := cs.Memory.KnownEndpoint(e.ID, func(e *journal.Endpoint) {
				e.Stopping = true
				e.Container.Labels = withoutService(e.Container.Labels)
			})
			failed = errors.Join(failed, err)
		}
		if !known {
			unknown = append(unknown, s)
		}
	}
	return unknown, failed
}

// withoutService leaves the service out of the labels, which others may have
// in their hands.
func withoutService(labels map[string]string) map[string]string {
	kept := make(map[string]string, len(labels))
	for k, v := range labels {
		if k != LabelService {
			kept[k] = v
		}
	}
	return kept
}

// firstRealTime is the number of Docker's RTMIN.
const firstRealTime = 34

// stops reports whether a signal, by its number, is the one that ends a
// container whose stop signal is spelled so, or KILL: others, as HUP, ask for
// something else.
func stops(spelled, sent string) bool {
	number, err := strconv.Atoi(sent)
	if err != nil || number == int(unix.SIGKILL) {
		return true
	}
	want := int(unix.SIGTERM)
	if n, err := strconv.Atoi(spelled); err == nil {
		want = n
	} else if spelled != "" {
		name := "SIG" + strings.TrimPrefix(strings.ToUpper(spelled), "SIG")
		want = int(unix.SignalNum(name))
		if offset, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
			n, _ := strconv.Atoi(offset) // "+3"; "" is RTMIN itself
			want = firstRealTime + n
		}
	}
	return number == want
}
