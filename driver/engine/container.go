package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"
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
	Hostname     string
	Domainname   string
	ExposedPorts []Port // sorted by protocol and number
	// Published are those of its ports that the user asked the engine to forward
	// to it (-p, -P), sorted.
	Published     []Port
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

// EndpointSettings is what a user may ask of one attachment, as with
// `docker network connect`. Zero fields ask for nothing.
type EndpointSettings struct {
	IPv4       netip.Addr
	IPv6       netip.Addr
	LinkLocal  []netip.Addr
	Aliases    []string
	Links      []string // "container" or "container:alias"
	DriverOpts map[string]string
	// MAC is what an inspect tells of a container's first network. Connect sends it
	// from API 1.44 on and engines up to 28 keep it for a container that they create
	// only: one that is attached anew has another. Older ones know one MAC per
	// container and keep that by themselves.
	MAC net.HardwareAddr
	// GwPriority orders a container's networks for the default route, highest
	// first (Docker 28); older engines ignore it.
	GwPriority int
}

// Connect attaches a container, running or stopped, to a network. The engine calls
// the plugin meanwhile if the container runs, and refuses one that is attached
// already. One that does not run is attached anew with these settings: that alone
// brings it from a network that is gone to its successor of the same name. An
// unknown network or container is ErrNotFound.
func (e *Engine) Connect(ctx context.Context, network, container string, settings EndpointSettings) error {
	op := fmt.Sprintf("connect container %s to network %s", container, network)
	return e.change(ctx, op, func(ctx context.Context, s *session) error {
		_, err := s.api.NetworkConnect(ctx, network, client.NetworkConnectOptions{
			Container:      container,
			EndpointConfig: settings.wire(),
		})
		return err
	})
}

// Disconnect detaches a container from a network. An attachment that is gone
// already, with its network or its container, is success. With force the engine
// also drops an endpoint of a container it does not know any more; the container is
// then taken by its name.
func (e *Engine) Disconnect(ctx context.Context, network, container string, force bool) error {
	op := fmt.Sprintf("disconnect container %s from network %s", container, network)
	return e.change(ctx, op, func(ctx context.Context, s *session) error {
		_, err := s.api.NetworkDisconnect(ctx, network, client.NetworkDisconnectOptions{
			Container: container,
			Force:     force,
		})
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		// Engines answer 500 for an attachment that is not there, as for any failure.
		if attached, lookErr := e.attached(ctx, network, container); lookErr == nil && !attached {
			return nil
		}
		return err
	})
}

// attached reports whether the container refers to the network. One that never started
// knows its networks by name only, and so counts as attached.
func (e *Engine) attached(ctx context.Context, network, container string) (bool, error) {
	detail, err := e.Container(ctx, container)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return slices.ContainsFunc(detail.Attachments, func(a Attachment) bool {
		return a.NetworkID == network || a.Network == network || a.NetworkID == ""
	}), err
}

func (s EndpointSettings) wire() *api.EndpointSettings {
	settings := &api.EndpointSettings{
		Links:      s.Links,
		Aliases:    s.Aliases,
		DriverOpts: s.DriverOpts,
		MacAddress: api.HardwareAddr(s.MAC),
		GwPriority: s.GwPriority,
	}
	if s.IPv4.IsValid() || s.IPv6.IsValid() || len(s.LinkLocal) > 0 {
		settings.IPAMConfig = &api.EndpointIPAMConfig{
			IPv4Address: s.IPv4, IPv6Address: s.IPv6, LinkLocalIPs: s.LinkLocal,
		}
	}
	return settings
}

// apiDNSNames is the API version from which an attachment tells the names Docker
// answers for apart from the aliases the user gave (Docker 26.0).
const apiDNSNames = "1.45"

// shortID is the length, in digits, of the id Docker itself adds as a name.
const shortID = 12

func containerFrom(c container.Summary) Container {
	var name string
	if len(c.Names) > 0 {
		// Legacy links add "/parent/alias" names; the own one has a single slash.
		own := slices.IndexFunc(c.Names, func(n string) bool { return strings.LastIndex(n, "/") == 0 })
		name = strings.TrimPrefix(c.Names[max(own, 0)], "/")
	}
	result := Container{
		ID:          c.ID,
		Name:        name,
		State:       ContainerState(c.State),
		Labels:      c.Labels,
		NetworkMode: c.HostConfig.NetworkMode,
	}
	if c.NetworkSettings != nil {
		result.Attachments = attachmentsFrom(c.NetworkSettings.Networks)
	}
	return result
}

func attachmentsFrom(networks map[string]*api.EndpointSettings) []Attachment {
	var list []Attachment
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if ep := networks[name]; ep != nil {
			list = append(list, attachmentFrom(name, ep))
		}
	}
	return list
}

func attachmentFrom(network string, ep *api.EndpointSettings) Attachment {
	a := Attachment{
		Network:    network,
		NetworkID:  ep.NetworkID,
		EndpointID: ep.EndpointID,
		Settings: EndpointSettings{
			Aliases: ep.Aliases, Links: ep.Links, DriverOpts: ep.DriverOpts, GwPriority: ep.GwPriority,
		},
		DNSNames: ep.DNSNames,
		IPv4:     actual(ep.IPAddress, ep.IPPrefixLen),
		IPv6:     actual(ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen),
		Gateway4: ep.Gateway,
		Gateway6: ep.IPv6Gateway,
		MAC:      net.HardwareAddr(ep.MacAddress),
	}
	if given := ep.IPAMConfig; given != nil {
		a.Settings.IPv4 = given.IPv4Address
		a.Settings.IPv6 = given.IPv6Address
		a.Settings.LinkLocal = given.LinkLocalIPs
	}
	return a
}

func actual(addr netip.Addr, length int) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, length)
}

func detailFrom(answer client.ContainerInspectResult, s *session) (ContainerDetail, error) {
	c := answer.Container
	detail := ContainerDetail{Container: Container{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/")}}
	if c.State != nil {
		detail.State = ContainerState(c.State.Status)
		detail.PID, detail.ExitCode, detail.Error = c.State.Pid, c.State.ExitCode, c.State.Error
		if h := c.State.Health; h != nil && h.Status != container.NoHealthcheck {
			detail.Health = Health(h.Status)
		}
	}
	if c.HostConfig != nil {
		detail.NetworkMode = string(c.HostConfig.NetworkMode)
		detail.RestartPolicy = string(c.HostConfig.RestartPolicy.Name)
		detail.AutoRemove = c.HostConfig.AutoRemove
		detail.Published = publishedFrom(c.HostConfig, c.Config)
	}
	if c.Config != nil {
		detail.Labels = c.Config.Labels
		detail.Hostname, detail.Domainname = c.Config.Hostname, c.Config.Domainname
		detail.StopSignal = c.Config.StopSignal
		detail.ExposedPorts = portsFrom(c.Config.ExposedPorts)
	}
	if c.NetworkSettings != nil {
		detail.SandboxID, detail.SandboxKey = c.NetworkSettings.SandboxID, c.NetworkSettings.SandboxKey
		detail.Attachments = attachmentsFrom(c.NetworkSettings.Networks)
	}
	mac, err := containerMAC(answer.Raw)
	for i := range detail.Attachments {
		a := &detail.Attachments[i]
		if a.Network == detail.NetworkMode || a.NetworkID == detail.NetworkMode {
			a.Settings.MAC = mac
		}
		if s.below(apiDNSNames) {
			splitNames(a, detail)
		}
	}
	return detail, err
}

// splitNames gives an attachment of an older engine the form of newer ones: there
// Aliases also holds what Docker added, the short id and the hostname, and DNSNames
// does not exist.
func splitNames(a *Attachment, c ContainerDetail) {
	short := c.ID[:min(shortID, len(c.ID))]
	given := slices.DeleteFunc(slices.Clone(a.Settings.Aliases), func(name string) bool {
		return name == short || name == c.Hostname
	})
	a.DNSNames = []string{c.Name}
	for _, name := range append(slices.Clone(given), short, c.Hostname) {
		if name != "" && !slices.Contains(a.DNSNames, name) {
			a.DNSNames = append(a.DNSNames, name)
		}
	}
	a.Settings.Aliases = given
}

// containerMAC reads --mac-address from an inspect answer: one per container, which
// the engine gives to the network of NetworkMode. The client's types lost the field
// with API 1.52; engines that know it still have and need it.
func containerMAC(raw json.RawMessage) (net.HardwareAddr, error) {
	var answer struct {
		Config struct{ MacAddress string }
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return macFrom(answer.Config.MacAddress), nil
}

// publishedFrom are the ports of -p, and with -P all that are exposed.
func publishedFrom(host *container.HostConfig, config *container.Config) []Port {
	set := api.PortSet{}
	for p := range host.PortBindings {
		set[p] = struct{}{}
	}
	if host.PublishAllPorts && config != nil {
		maps.Copy(set, config.ExposedPorts)
	}
	return portsFrom(set)
}

func portsFrom(set api.PortSet) []Port {
	var ports []Port
	for p := range set {
		ports = append(ports, Port{Number: p.Num(), Protocol: string(p.Proto())})
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	return ports
}
