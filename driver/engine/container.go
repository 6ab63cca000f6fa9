package engine

import (
	"context"
	"net"
	"net/netip"

	"github.com/moby/moby/client"
)

// ContainerState is what a container does, in Docker's words.
type ContainerState string

// The states of a container.
const (
	StateCreated    ContainerState = "created"
	StateRunning    ContainerState = "running"
	StatePaused     ContainerState = "paused"
	StateRestarting ContainerState = "restarting"
	StateRemoving   ContainerState = "removing"
	StateExited     ContainerState = "exited"
	StateDead       ContainerState = "dead"
)

// Health is what a container's health check says, in Docker's words.
type Health string

// The states of a container's health. HealthNone is one without a check, which
// Docker also calls "none".
const (
	HealthNone      Health = ""
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// Container is a container as the engine lists it (GET /containers/json).
type Container struct {
	ID     string // 64 hex digits
	Name   string // without Docker's leading slash
	State  ContainerState
	Labels map[string]string
	// NetworkMode is the --network it was made with: "bridge", "host", "none",
	// "container:ID", or a network's name or id as the user wrote it.
	NetworkMode string
	// Attachments are its networks, also when it does not run, sorted by name.
	Attachments []Attachment
}

// Attachment is one network of a container.
type Attachment struct {
	Network string // the network's name
	// NetworkID is empty until the container first started, kept while it is
	// stopped, and stale once the network was removed: Docker starts a stopped
	// container by this id alone.
	NetworkID  string
	EndpointID string // empty while the container does not run
	// Settings are what the user asked for, enough to attach the container the same
	// way again. A list knows only the addresses. No engine tells the MAC asked for on
	// any network but the first.
	Settings EndpointSettings
	// DNSNames are the names by which Docker's own resolver knows the container on
	// this network. A list does not know them.
	DNSNames []string
	// What the running container has; zero while it does not run.
	IPv4     netip.Prefix
	IPv6     netip.Prefix
	Gateway4 netip.Addr
	Gateway6 netip.Addr
	MAC      net.HardwareAddr
}

// ContainerDetail is a container as the engine inspects it
// (GET /containers/{id}/json).
type ContainerDetail struct {
	Container
	Hostname      string
	Domainname    string
	ExposedPorts  []Port // sorted by protocol and number
	Health        Health
	StopSignal    string // as it was given: "SIGINT", "INT", "2"; empty is TERM
	RestartPolicy string // "no", "always", "unless-stopped" or "on-failure"
	AutoRemove    bool   // --rm
	PID           int    // in the engine's pid namespace; 0 while it does not run
	ExitCode      int
	// Error is why the last start failed, in the engine's words, or empty.
	Error string
	// SandboxID and SandboxKey identify the network namespace. 20.10 keeps them
	// after a stop, 28 does not.
	SandboxID  string
	SandboxKey string // path of the namespace, below the engine's exec root
}

// Port is a port a container's image or user exposes.
type Port struct {
	Number   uint16
	Protocol string // "tcp", "udp" or "sctp"
}

// Containers lists all containers, running or not. It never waits for one that is
// being started, unlike Container: the engine answers it from a snapshot.
func (e *Engine) Containers(ctx context.Context) ([]Container, error) {
	var list []Container
	err := e.read(ctx, "list containers", func(ctx context.Context, s *session) error {
		answer, err := s.api.ContainerList(ctx, client.ContainerListOptions{All: true})
		if err != nil {
			return err
		}
		list = make([]Container, 0, len(answer.Items))
		for _, c := range answer.Items {
			list = append(list, containerFrom(c))
		}
		return nil
	})
	return list, err
}

// Container inspects one container, by id or name. Unknown ones are ErrNotFound.
// The engine answers only once it is done starting or stopping that container,
// which includes its calls to the plugin: past the read deadline that is
// ErrUnavailable.
func (e *Engine) Container(ctx context.Context, id string) (ContainerDetail, error) {
	var detail ContainerDetail
	err := e.read(ctx, "inspect container "+id, func(ctx context.Context, s *session) error {
		answer, err := s.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		detail, err = detailFrom(answer, s)
		return err
	})
	return detail, err
}

// StartContainer starts a container. One that runs already is success. ErrNotFound
// means that the container is unknown or that a network it was attached to is gone.
// Other errors are why it cannot start.
func (e *Engine) StartContainer(ctx context.Context, id string) error {
	return e.change(ctx, "start container "+id, func(ctx context.Context, s *session) error {
		_, err := s.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
}
