package driver

import (
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/publish"
)

// task makes a container one of service web's.
func task(bend func(*enginetest.ContainerSpec)) func(*enginetest.ContainerSpec) {
	return func(s *enginetest.ContainerSpec) {
		s.Labels = map[string]string{publish.LabelService: "web", publish.LabelTask: "web.1.x"}
		bend(s)
	}
}

func asItIs(*enginetest.ContainerSpec) {}

// published waits for what the record of a container's endpoint says.
func (h *machine) published(what string, ct *container, is func(store.Container) bool) {
	h.Helper()
	h.eventually(what, func() bool {
		it, err := h.mem.Get(h.Context(), store.EndpointKey(h.name, ct.endpoint))
		if err != nil {
			return false
		}
		rec, err := store.Decode[store.Endpoint](it)
		return err == nil && rec.Container.Name == ct.spec.Name && is(rec.Container)
	})
}

func serving(c store.Container) bool { return publish.IsTask(c) && publish.Serves(c) }

func apart(c store.Container) bool { return publish.IsTask(c) && !publish.Serves(c) }

// TestServiceNames: a task has the names of its service from when it is
// healthy until it is stopped.
func TestServiceNames(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")

	plain := h.run("plain", "lan1", task(asItIs))
	h.d.Containers.Refresh() // here a container is told of before its endpoint is made
	h.published("a task without a check serves", plain, serving)
	checked := h.run("checked", "lan1", task(func(s *enginetest.ContainerSpec) { s.Health, s.StopSignal = engine.HealthStarting, "SIGINT" }))
	h.d.Containers.Refresh()
	h.published("one with a check does not yet", checked, apart)
	h.engine.SetHealth(checked.id, engine.HealthHealthy)
	h.published("a healthy one serves", checked, serving)
	h.engine.SetHealth(checked.id, engine.HealthUnhealthy)
	h.published("an unhealthy one does not", checked, apart)
	h.engine.SetHealth(checked.id, engine.HealthHealthy)
	h.published("a healthy one serves again", checked, serving)

	h.engine.SignalContainer(checked.id, "1")
	h.engine.SignalContainer(checked.id, "15") // not its stop signal
	h.engine.SignalContainer(plain.id, "15")
	h.published("one that is stopped does not serve", plain, apart)
	h.published("one that got other signals does", checked, serving)
	h.engine.SignalContainer(checked.id, "2")
	h.published("with its own stop signal it does not", checked, apart)

	h.restart()
	h.engine.SetHealth(plain.id, engine.HealthHealthy)
	h.engine.RenameContainer(plain.id, "still")
	plain.spec.Name = "still"
	h.d.Containers.Refresh()
	h.published("not after a new look and a new agent either", plain, apart)
}
