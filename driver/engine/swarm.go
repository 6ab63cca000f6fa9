package engine

import (
	"net/netip"

	"github.com/moby/moby/api/types/swarm"
)

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
