package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// SwarmNetworks lists the networks of the cluster with their address pools. Only
// managers know them: others fail with ErrNotManager.
func (e *Engine) SwarmNetworks(ctx context.Context) ([]Network, error) {
	const op = "list swarm networks"
	// A manager that lost its leader lists networks without those of the cluster,
	// and without an error. It does not answer for the swarm itself then.
	err := e.cluster(ctx, op, func(ctx context.Context, s *session) error {
		_, err := s.api.SwarmInspect(ctx, client.SwarmInspectOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.networks(ctx, op, url.Values{"filters": {`{"scope":{"swarm":true}}`}})
}

// cluster reads what only a manager knows.
func (e *Engine) cluster(ctx context.Context, op string, do func(context.Context, *session) error) error {
	err := e.read(ctx, op, do)
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	// 503 is what a manager without a leader answers, and also what any other engine
	// answers for ever.
	if info, infoErr := e.Info(ctx); infoErr == nil && info.Swarm.State != SwarmManager {
		return fmt.Errorf("%s: %w: its swarm state is %s", op, ErrNotManager, info.Swarm.State)
	}
	return err
}

// EndpointMode is how a service's name resolves.
type EndpointMode string

// The endpoint modes of a service.
const (
	ModeVIP   EndpointMode = "vip"   // one virtual address per network
	ModeDNSRR EndpointMode = "dnsrr" // the addresses of its tasks
)

// Service is a swarm service and the virtual addresses it holds.
type Service struct {
	ID     string
	Name   string
	Labels map[string]string
	Mode   EndpointMode
	VIPs   []VIP // empty in ModeDNSRR and until the addresses are allocated
	// Networks are what its tasks attach to.
	Networks []ServiceNetwork
}

// VIP is a service's virtual address on one network.
type VIP struct {
	NetworkID string
	Addr      netip.Prefix
}

// ServiceNetwork is a network as a service asks for it.
type ServiceNetwork struct {
	Network string // id or name, as in the service's spec
	Aliases []string
}

// Services lists the services of the cluster. Only managers know them: others fail
// with ErrNotManager.
func (e *Engine) Services(ctx context.Context) ([]Service, error) {
	var list []Service
	err := e.cluster(ctx, "list services", func(ctx context.Context, s *session) error {
		answer, err := s.api.ServiceList(ctx, client.ServiceListOptions{})
		if err != nil {
			return err
		}
		list = make([]Service, 0, len(answer.Items))
		for _, service := range answer.Items {
			list = append(list, serviceFrom(service))
		}
		return nil
	})
	return list, err
}

func serviceFrom(from swarm.Service) Service {
	service := Service{
		ID:     from.ID,
		Name:   from.Spec.Name,
		Labels: from.Spec.Labels,
		Mode:   EndpointMode(from.Endpoint.Spec.Mode),
	}
	if service.Mode == "" {
		service.Mode = ModeVIP
	}
	for _, vip := range from.Endpoint.VirtualIPs {
		service.VIPs = append(service.VIPs, VIP{NetworkID: vip.NetworkID, Addr: vip.Addr})
	}
	for _, network := range from.Spec.TaskTemplate.Networks {
		service.Networks = append(service.Networks, ServiceNetwork{Network: network.Target, Aliases: network.Aliases})
	}
	return service
}

// Task is one task of a service, or the attachment of a plain container to an
// attachable swarm network, which has no service.
type Task struct {
	ID           string
	ServiceID    string // empty for an attachment
	NodeID       string // empty until the task is scheduled
	Slot         int
	State        string // the state it is in, in Docker's words: "running", "shutdown", ...
	DesiredState string
	ContainerID  string // of its container on its node; empty until that is made
	Attachments  []TaskAttachment
}

// TaskAttachment is the addresses of a task on one network.
type TaskAttachment struct {
	NetworkID string
	// Addresses have the subnet's length once allocated. One a user asked for that
	// is not allocated yet has its full length.
	Addresses []netip.Prefix
}

// taskAnswer is "Task" of the Engine API.
type taskAnswer struct {
	ID        string
	ServiceID string
	NodeID    string
	Slot      int
	Status    struct {
		State           string
		ContainerStatus struct{ ContainerID string }
	}
	DesiredState        string
	NetworksAttachments []struct {
		Network   struct{ ID string }
		Addresses []string
	}
}

// everyTask asks for attachments (containers of `docker run` on an attachable
// network) beside services' containers, which is all that the API lists unasked.
const everyTask = `{"runtime":{"":true,"attachment":true,"container":true}}`

// Tasks lists the tasks of the cluster, also those that ended and are kept as
// history, and those that stand for an attached container. Only managers know them: others fail with ErrNotManager.
func (e *Engine) Tasks(ctx context.Context) ([]Task, error) {
	var list []Task
	err := e.cluster(ctx, "list tasks", func(ctx context.Context, s *session) error {
		var answer []taskAnswer
		if err := e.get(ctx, s, "/tasks", url.Values{"filters": {everyTask}}, &answer); err != nil {
			return err
		}
		list = make([]Task, 0, len(answer))
		for _, a := range answer {
			list = append(list, a.task())
		}
		return nil
	})
	return list, err
}

func (a taskAnswer) task() Task {
	task := Task{
		ID:           a.ID,
		ServiceID:    a.ServiceID,
		NodeID:       a.NodeID,
		Slot:         a.Slot,
		State:        a.Status.State,
		DesiredState: a.DesiredState,
		ContainerID:  a.Status.ContainerStatus.ContainerID,
	}
	for _, attached := range a.NetworksAttachments {
		attachment := TaskAttachment{NetworkID: attached.Network.ID}
		for _, text := range attached.Addresses {
			if addr := prefixFrom(text); addr.IsValid() {
				attachment.Addresses = append(attachment.Addresses, addr)
			}
		}
		task.Attachments = append(task.Attachments, attachment)
	}
	return task
}
