package enginetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gvlan/driver/engine"
)

// containers are an engine's, by id.
type containers map[string]*engine.ContainerDetail

// ContainerSpec describes a container to make, as `docker create` does.
type ContainerSpec struct {
	Name          string
	Hostname      string // the short id if empty
	Labels        map[string]string
	Network       string // --network: a network's name or id
	Settings      engine.EndpointSettings
	Published     []engine.Port
	RestartPolicy string // "no" if empty
	StopSignal    string
	Health        engine.Health // when it starts; HealthNone is one without a check
}

// CreateContainer is `docker create`: the container refers to its network by name
// and does not run. An unknown network is kept as it was written.
func (e *Engine) CreateContainer(spec ContainerSpec) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &engine.ContainerDetail{
		Container: engine.Container{
			ID: e.serial.id(), Name: spec.Name, State: engine.StateCreated,
			Labels: orEmpty(spec.Labels), NetworkMode: spec.Network,
		},
		Hostname:      spec.Hostname,
		StopSignal:    spec.StopSignal,
		Health:        spec.Health,
		RestartPolicy: spec.RestartPolicy,
		Published:     spec.Published,
	}
	if c.Hostname == "" {
		c.Hostname = c.ID[:12]
	}
	if c.RestartPolicy == "" {
		c.RestartPolicy = "no"
	}
	name := spec.Network
	if n, err := e.networks.find(spec.Network); err == nil {
		name = n.Name
	}
	c.Attachments = []engine.Attachment{{Network: name, Settings: cloneSettings(spec.Settings)}}
	e.containers[c.ID] = c
	e.emitContainer(engine.ActionCreate, c)
	return c.ID
}

// RunContainer is `docker run -d`: CreateContainer and StartContainer.
func (e *Engine) RunContainer(ctx context.Context, spec ContainerSpec) (string, error) {
	id := e.CreateContainer(spec)
	return id, e.StartContainer(ctx, id)
}

// StopContainer is `docker stop`. Unknown or stopped containers stay as they are.
func (e *Engine) StopContainer(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, err := e.containers.find(id); err == nil && running(c) {
		e.signal(c, "15")
		e.halt(c)
		e.emitContainer(engine.ActionStop, c)
		e.emitContainer(engine.ActionDie, c)
	}
}

// SignalContainer is `docker kill -s`, and what begins a stop that takes its
// grace period: the container goes on.
func (e *Engine) SignalContainer(id, number string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, err := e.containers.find(id); err == nil && running(c) {
		e.signal(c, number)
	}
}

func (e *Engine) signal(c *engine.ContainerDetail, number string) {
	attributes := containerAttributes(c)
	attributes["signal"] = number
	e.emit(engine.KindContainer, engine.ActionKill, c.ID, attributes)
}

// SetHealth is what a container's health check finds.
func (e *Engine) SetHealth(id string, h engine.Health) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.containers.find(id)
	if err != nil {
		return
	}
	c.Health = h
	switch h {
	case engine.HealthHealthy:
		e.emitContainer(engine.ActionHealthy, c)
	case engine.HealthUnhealthy:
		e.emitContainer(engine.ActionUnhealthy, c)
	}
}

// RemoveContainer is `docker rm -f`.
func (e *Engine) RemoveContainer(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.containers.find(id)
	if err != nil {
		return
	}
	if running(c) {
		e.signal(c, "9")
		e.halt(c)
		e.emitContainer(engine.ActionDie, c)
	}
	delete(e.containers, c.ID)
	e.emitContainer(engine.ActionDestroy, c)
}

// RenameContainer is `docker rename`.
func (e *Engine) RenameContainer(id, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.containers.find(id)
	if err != nil {
		return
	}
	old := c.Name
	c.Name = name
	for i := range c.Attachments {
		a := &c.Attachments[i]
		if a.DNSNames != nil {
			a.DNSNames = dnsNames(c, a.Settings.Aliases)
		}
		e.networks.rename(c, a)
	}
	attributes := containerAttributes(c)
	attributes["oldName"] = "/" + old
	e.emit(engine.KindContainer, engine.ActionRename, c.ID, attributes)
}

// Containers is engine.Engine.Containers.
func (e *Engine) Containers(ctx context.Context) ([]engine.Container, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Containers"); err != nil {
		return nil, err
	}
	list := []engine.Container{}
	for _, c := range e.containers {
		listed := cloneDetail(c).Container
		for i := range listed.Attachments {
			a := &listed.Attachments[i]
			a.DNSNames = nil
			a.Settings = engine.EndpointSettings{IPv4: a.Settings.IPv4, IPv6: a.Settings.IPv6}
		}
		list = append(list, listed)
	}
	slices.SortFunc(list, func(a, b engine.Container) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Container is engine.Engine.Container.
func (e *Engine) Container(ctx context.Context, id string) (engine.ContainerDetail, error) {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "Container"); err != nil {
		return engine.ContainerDetail{}, err
	}
	c, err := e.containers.find(id)
	if err != nil {
		return engine.ContainerDetail{}, fmt.Errorf("inspect container %s: %w", id, err)
	}
	return cloneDetail(c), nil
}

// StartContainer is engine.Engine.StartContainer.
func (e *Engine) StartContainer(ctx context.Context, id string) error {
	defer e.mu.Unlock()
	if err := e.begin(ctx, "StartContainer"); err != nil {
		return err
	}
	c, err := e.containers.find(id)
	if err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	if running(c) {
		return nil
	}
	if err := e.join(c); err != nil {
		c.Error = err.Error()
		return fmt.Errorf("start container %s: %w", id, err)
	}
	c.State, c.Error, c.ExitCode = engine.StateRunning, "", 0
	c.PID = int(1000 + e.serial.next())
	c.SandboxID = e.serial.id()
	c.SandboxKey = "/var/run/docker/netns/" + c.SandboxID[:12]
	e.emitContainer(engine.ActionStart, c)
	return nil
}

// halt ends a container: its endpoints go, what its attachments ask for stays.
func (e *Engine) halt(c *engine.ContainerDetail) {
	for i := range c.Attachments {
		e.detach(c, &c.Attachments[i])
	}
	c.State, c.PID, c.ExitCode, c.SandboxID, c.SandboxKey = engine.StateExited, 0, 137, "", ""
}

// find takes an id or a name.
func (all containers) find(key string) (*engine.ContainerDetail, error) {
	if c, ok := all[key]; ok {
		return c, nil
	}
	for _, c := range all {
		if c.Name == key {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: container %s", engine.ErrNotFound, key)
}

func running(c *engine.ContainerDetail) bool { return c.State == engine.StateRunning }

func cloneDetail(c *engine.ContainerDetail) engine.ContainerDetail {
	clone := *c
	clone.Labels = maps.Clone(c.Labels)
	clone.ExposedPorts = slices.Clone(c.ExposedPorts)
	clone.Published = slices.Clone(c.Published)
	clone.Attachments = slices.Clone(c.Attachments)
	for i := range clone.Attachments {
		a := &clone.Attachments[i]
		a.Settings = cloneSettings(a.Settings)
		a.DNSNames = slices.Clone(a.DNSNames)
	}
	return clone
}

func cloneSettings(s engine.EndpointSettings) engine.EndpointSettings {
	s.LinkLocal = slices.Clone(s.LinkLocal)
	s.Aliases = slices.Clone(s.Aliases)
	s.Links = slices.Clone(s.Links)
	s.DriverOpts = maps.Clone(s.DriverOpts)
	s.MAC = slices.Clone(s.MAC)
	return s
}
