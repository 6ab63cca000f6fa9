package enginetest_test

import (
	"context"
	"errors"
	"testing"

	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
)

func TestFakeConforms(t *testing.T) {
	fake := enginetest.New()
	enginetest.Run(t, enginetest.Subject{
		Engine: fake,
		Driver: "bridge",
		Create: func(_ testing.TB, spec enginetest.ContainerSpec) string { return fake.CreateContainer(spec) },
		Stop:   func(_ testing.TB, id string) { fake.StopContainer(id) },
		Rename: func(_ testing.TB, id, name string) { fake.RenameContainer(id, name) },
		Remove: func(_ testing.TB, id string) { fake.RemoveContainer(id) },
		Prune:  func(testing.TB) { fake.PruneNetworks() },
		Down:   func(testing.TB) { fake.Down() },
		Up:     func(testing.TB) { fake.Up() },
	})
}

func TestFail(t *testing.T) {
	fake := enginetest.New()
	planted := errors.New("planted")
	fake.Fail("CreateNetwork", planted, engine.ErrNameTaken)
	request := engine.NetworkRequest{Name: "n", Driver: "gvlan", IPv4: true}
	for _, want := range []error{planted, engine.ErrNameTaken} {
		if _, err := fake.CreateNetwork(t.Context(), request); !errors.Is(err, want) {
			t.Errorf("create: got error %v, want %v", err, want)
		}
	}
	if _, err := fake.CreateNetwork(t.Context(), request); err != nil {
		t.Errorf("create after the planted failures: %v", err)
	}
}

func TestSwarm(t *testing.T) {
	fake := enginetest.New()
	id := fake.AddNetwork(engine.Network{Name: "over", Scope: engine.ScopeSwarm})
	fake.AddNetwork(engine.Network{Name: "here", Scope: engine.ScopeLocal})
	fake.SetSwarm([]engine.Service{{ID: "s1"}}, []engine.Task{{ID: "t1"}})
	networks, err := fake.SwarmNetworks(t.Context())
	if err != nil || len(networks) != 1 || networks[0].ID != id {
		t.Errorf("networks: got %+v, %v; want %s alone", networks, err, id)
	}
	services, err := fake.Services(t.Context())
	if err != nil || len(services) != 1 {
		t.Errorf("services: got %+v, %v; want one", services, err)
	}
	tasks, err := fake.Tasks(t.Context())
	if err != nil || len(tasks) != 1 {
		t.Errorf("tasks: got %+v, %v; want one", tasks, err)
	}
}

func TestWatchEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := enginetest.New().Watch(ctx, func(engine.Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("watch: got error %v, want %v", err, context.Canceled)
	}
}
