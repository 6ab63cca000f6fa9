package driver

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

// A task of the swarm has its own name for as long as it runs. The names of
// its service are its only while the swarm has it serve: from when it is
// healthy, or started where it has no health check, until it is stopped,
// before its grace period. The swarm tells neither to drivers; the engine of
// the task's node tells both by what happens to the container.

// The labels of a task's container.
const (
	labelService = "com.docker.swarm.service.name"
	labelTask    = "com.docker.swarm.task.name"
)

// isTask reports whether a container is a service's.
func isTask(c store.Container) bool { return c.Labels[labelTask] != "" }

// serves reports whether a task's container is described as one that serves.
func serves(c store.Container) bool { return c.Labels[labelService] != "" }

// awaitsHealth reports whether the endpoint is of a task that is going to
// serve: events are lossy, so it is asked about at each look.
func awaitsHealth(e journal.Endpoint) bool {
	return isTask(e.Container) && !serves(e.Container) && !e.Stopping
}

// healthy reports whether the engine has nothing against a container's health.
func healthy(h engine.Health) bool {
	return h == engine.HealthNone || h == engine.HealthHealthy
}

// describe takes over what the engine says of the endpoint's container.
func describe(e *journal.Endpoint, c engine.ContainerDetail, a engine.Attachment) {
	e.Container, e.StopSignal = describeContainer(c, a), c.StopSignal
	if isTask(e.Container) && (e.Stopping || !healthy(c.Health)) {
		delete(e.Container.Labels, labelService)
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
func (d *Driver) withdrawStopping(all []signalled) (unknown []signalled, failed error) {
	if len(all) == 0 {
		return nil, nil
	}
	endpoints := d.state.Endpoints()
	for _, s := range all {
		known := false
		for _, e := range endpoints {
			if e.Container.ID != s.container {
				continue
			}
			known = true
			if !isTask(e.Container) || !stops(e.StopSignal, s.signal) {
				continue
			}
			_, err := d.state.ChangeEndpoint(e.ID, func(e *journal.Endpoint) {
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
		if k != labelService {
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
