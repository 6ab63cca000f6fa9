package enginetest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/driver/engine"
)

// Networks is the part of an engine the suite drives networks by.
type Networks interface {
	Networks(ctx context.Context, driver string) ([]engine.Network, error)
	Network(ctx context.Context, id string) (engine.Network, error)
	CreateNetwork(ctx context.Context, request engine.NetworkRequest) (string, error)
	RemoveNetwork(ctx context.Context, id string) error
}

// Containers is the part of an engine the suite drives containers by.
type Containers interface {
	Containers(ctx context.Context) ([]engine.Container, error)
	Container(ctx context.Context, id string) (engine.ContainerDetail, error)
	StartContainer(ctx context.Context, id string) error
	Connect(ctx context.Context, network, container string, settings engine.EndpointSettings) error
	Disconnect(ctx context.Context, network, container string, force bool) error
}

// Cluster is the part of an engine that answers for a swarm.
type Cluster interface {
	SwarmNetworks(ctx context.Context) ([]engine.Network, error)
	Services(ctx context.Context) ([]engine.Service, error)
	Tasks(ctx context.Context) ([]engine.Task, error)
}

// Subject is an engine under test and the hand of its user.
type Subject struct {
	Engine interface {
		Networks
		Containers
		Cluster
		Ready(ctx context.Context) error
		Watch(ctx context.Context, deliver func(engine.Event)) error
	}
	// Driver is a network driver of the engine that takes any subnet.
	Driver string

	// What a user does at the host, each failing the test if it cannot.
	Create func(t testing.TB, spec ContainerSpec) (id string)
	Stop   func(t testing.TB, container string)
	Rename func(t testing.TB, container, name string)
	Remove func(t testing.TB, container string)
	Prune  func(t testing.TB) // docker network prune
	// Down ends the engine and Up starts it again; both return when it is so.
	Down func(t testing.TB)
	Up   func(t testing.TB)
}

// Run holds an engine without a swarm to what users of driver/engine rely on.
func Run(t *testing.T, s Subject) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"network comes back as it was asked for", networkRoundTrip},
		{"second network of a name is refused", nameTaken},
		{"unknown network", unknownNetwork},
		{"attachment follows the container's life", attachmentLife},
		{"container finds a network made anew after it is attached again", attachAgain},
		{"attachments that are not there", missingAttachment},
		{"connect a running container", connectRunning},
		{"events of a life", eventsOfLife},
		{"prune is told after what it removed", eventsOfPrune},
		{"stream comes back after a restart", restart},
		{"cluster is for managers", notManager},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

func lan(s Subject, name string) engine.NetworkRequest {
	return engine.NetworkRequest{
		Name:     name,
		Driver:   s.Driver,
		IPv4:     true,
		Internal: true,
		Labels:   map[string]string{"gvlan.network": name},
		IPAM: engine.IPAM{Driver: "default", Pools: []engine.Pool{{
			Subnet:  netip.MustParsePrefix("10.231.0.0/24"),
			Range:   netip.MustParsePrefix("10.231.0.128/25"),
			Gateway: netip.MustParseAddr("10.231.0.1"),
			Aux:     map[string]netip.Addr{"nas": netip.MustParseAddr("10.231.0.9")},
		}}},
	}
}

// newNetwork makes a network that goes with the test.
func (s Subject) newNetwork(t *testing.T, request engine.NetworkRequest) string {
	t.Helper()
	id, err := s.Engine.CreateNetwork(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Engine.RemoveNetwork(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	return id
}

// newContainer makes a container that goes with the test, before the networks made so far.
func (s Subject) newContainer(t *testing.T, spec ContainerSpec) string {
	t.Helper()
	id := s.Create(t, spec)
	t.Cleanup(func() {
		if _, err := s.Engine.Container(context.Background(), id); err == nil {
			s.Remove(t, id)
		}
	})
	return id
}

func (s Subject) start(t *testing.T, id string) {
	t.Helper()
	if err := s.Engine.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// attachment returns the container's only attachment, as listed and as inspected.
func (s Subject) attachment(t *testing.T, id string) (listed, inspected engine.Attachment) {
	t.Helper()
	all, err := s.Engine.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(c engine.Container) bool { return c.ID == id })
	if i < 0 || len(all[i].Attachments) != 1 {
		t.Fatalf("container %s is not listed with one attachment: %+v", id, all)
	}
	detail, err := s.Engine.Container(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(detail.Attachments) != 1 {
		t.Fatalf("container %s is not inspected with one attachment: %+v", id, detail)
	}
	return all[i].Attachments[0], detail.Attachments[0]
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func networkRoundTrip(t *testing.T, s Subject) {
	request := lan(s, "round")
	request.IPv6, request.Attachable = true, true
	request.IPAM.Pools = append(request.IPAM.Pools, engine.Pool{
		Subnet: netip.MustParsePrefix("fd00:231::/64"), Gateway: netip.MustParseAddr("fd00:231::1"),
	})
	id := s.newNetwork(t, request)
	want := engine.Network{
		ID: id, Name: request.Name, Driver: request.Driver, Scope: engine.ScopeLocal,
		IPv4: true, IPv6: true, Internal: true, Attachable: true,
		Labels: request.Labels, IPAM: request.IPAM,
	}
	options := append(prefixes, cmpopts.IgnoreFields(engine.Network{}, "Created"), cmpopts.EquateEmpty())
	got, err := s.Engine.Network(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, options...); diff != "" {
		t.Errorf("inspected network (-want +got):\n%s", diff)
	}
	if got.Created.IsZero() {
		t.Error("network has no time of creation")
	}
	list, err := s.Engine.Networks(t.Context(), s.Driver)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(n engine.Network) bool { return n.ID == id })
	if i < 0 {
		t.Fatalf("network is not listed: %+v", list)
	}
	if diff := cmp.Diff(want, list[i], options...); diff != "" {
		t.Errorf("listed network (-want +got):\n%s", diff)
	}
	other, err := s.Engine.Networks(t.Context(), "no-such-driver")
	if err != nil || len(other) != 0 {
		t.Errorf("networks of another driver: got %+v, %v; want none", other, err)
	}
}

// prefixes lets cmp look at addresses.
var prefixes = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

func nameTaken(t *testing.T, s Subject) {
	first := s.newNetwork(t, lan(s, "twice"))
	second := lan(s, "twice")
	second.IPAM.Pools = []engine.Pool{{Subnet: netip.MustParsePrefix("10.232.0.0/24")}}
	_, err := s.Engine.CreateNetwork(t.Context(), second)
	wantError(t, "create a second one", err, engine.ErrNameTaken)
	if n, err := s.Engine.Network(t.Context(), "twice"); err != nil || n.ID != first {
		t.Errorf("network by name: got %s, %v; want the first, %s", n.ID, err, first)
	}
}

func unknownNetwork(t *testing.T, s Subject) {
	_, err := s.Engine.Network(t.Context(), "no-such-network")
	wantError(t, "inspect", err, engine.ErrNotFound)
	if err := s.Engine.RemoveNetwork(t.Context(), "no-such-network"); err != nil {
		t.Errorf("remove: got error %v, want none", err)
	}
	_, err = s.Engine.Container(t.Context(), "no-such-container")
	wantError(t, "inspect container", err, engine.ErrNotFound)
	err = s.Engine.StartContainer(t.Context(), "no-such-container")
	wantError(t, "start container", err, engine.ErrNotFound)
}

func notManager(t *testing.T, s Subject) {
	_, err := s.Engine.SwarmNetworks(t.Context())
	wantError(t, "networks", err, engine.ErrNotManager)
	_, err = s.Engine.Services(t.Context())
	wantError(t, "services", err, engine.ErrNotManager)
	_, err = s.Engine.Tasks(t.Context())
	wantError(t, "tasks", err, engine.ErrNotManager)
}
