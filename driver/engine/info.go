package engine

import (
	"strings"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

// Info is what the engine says of itself (GET /info).
type Info struct {
	// ID is the engine's own identity. It stays over restarts and upgrades.
	ID string
	// Hostname is the host's name as the engine read it when it started.
	Hostname string
	// Version is the engine's release, for example "28.5.2".
	Version string
	// APIVersion is the Engine API version agreed with it, for example "1.51".
	APIVersion string
	// Labels are those dockerd was started or last reloaded with (--label key=value).
	// A label without a value maps to "".
	Labels map[string]string
	// Swarm is the engine's part in a swarm.
	Swarm Swarm
	// LiveRestore reports whether containers go on when dockerd ends.
	LiveRestore bool
	// NetworkPlugins are the network drivers the engine has at hand, built in or
	// activated, by name.
	NetworkPlugins []string
}

// Swarm is an engine's part in a swarm.
type Swarm struct {
	State     SwarmState
	NodeID    string // empty when the engine is in no swarm
	ClusterID string // known to managers only
}

// SwarmState is the role of an engine in a swarm.
type SwarmState string

const (
	// SwarmInactive: the engine is in no swarm.
	SwarmInactive SwarmState = "inactive"
	// SwarmPending: the engine belongs to a swarm but does not take part yet or any
	// more (starting, locked, or in error).
	SwarmPending SwarmState = "pending"
	// SwarmWorker: the engine runs tasks and knows nothing of the cluster.
	SwarmWorker SwarmState = "worker"
	// SwarmManager: the engine also answers for the cluster.
	SwarmManager SwarmState = "manager"
)

func infoFrom(from system.Info, apiVersion string) Info {
	info := Info{
		ID:             from.ID,
		Hostname:       from.Name,
		Version:        from.ServerVersion,
		APIVersion:     apiVersion,
		Labels:         make(map[string]string, len(from.Labels)),
		Swarm:          swarmFrom(from.Swarm),
		LiveRestore:    from.LiveRestoreEnabled,
		NetworkPlugins: from.Plugins.Network,
	}
	for _, label := range from.Labels {
		key, value, _ := strings.Cut(label, "=")
		info.Labels[key] = value
	}
	return info
}

func swarmFrom(from swarm.Info) Swarm {
	s := Swarm{State: SwarmPending, NodeID: from.NodeID}
	switch {
	case from.LocalNodeState == swarm.LocalNodeStateInactive, from.LocalNodeState == "":
		s.State = SwarmInactive
	case from.LocalNodeState == swarm.LocalNodeStateActive && from.ControlAvailable:
		s.State = SwarmManager
	case from.LocalNodeState == swarm.LocalNodeStateActive:
		s.State = SwarmWorker
	}
	if from.Cluster != nil {
		s.ClusterID = from.Cluster.ID
	}
	return s
}
