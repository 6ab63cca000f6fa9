package docker_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/tests/lab"
)

// TestEngine holds real engines, and what driver/engine makes of them, to the suite
// that its fake passes.
func TestEngine(t *testing.T) {
	t.Parallel()
	for _, release := range lab.Engines(lab.Docker20, lab.Docker26, lab.Docker28) {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			host := lab.New(t, lab.Options{Hosts: []lab.HostOptions{{
				Release: release,
				Labels:  []string{"macvlan=local", "rack=a=b"},
			}}}).Hosts[0]
			e := openEngine(t, host)
			t.Run("suite", func(t *testing.T) { enginetest.Run(t, engineSubject(host, e)) })
			t.Run("info", func(t *testing.T) { engineInfo(t, e, release) })
			t.Run("network without IPv4", func(t *testing.T) { engineWithoutIPv4(t, e, release) })
			t.Run("network whose gateway the engine chose", func(t *testing.T) { engineOwnGateway(t, host, e) })
			t.Run("swarm", func(t *testing.T) { engineSwarm(t, host, e) })
		})
	}
}

func openEngine(t *testing.T, host *lab.Host) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{Socket: host.Engine.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func engineSubject(host *lab.Host, e *engine.Engine) enginetest.Subject {
	// Clean-ups run these after the test's own context ended.
	docker := func(t testing.TB, args ...string) string {
		t.Helper()
		out, err := host.Docker(context.Background(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return enginetest.Subject{
		Engine: e,
		Driver: "bridge",
		Create: func(t testing.TB, spec enginetest.ContainerSpec) string {
			return docker(t, createArgs(spec)...)
		},
		Stop:   func(t testing.TB, id string) { docker(t, "stop", "-t", "0", id) },
		Rename: func(t testing.TB, id, name string) { docker(t, "rename", id, name) },
		Remove: func(t testing.TB, id string) { docker(t, "rm", "-f", id) },
		Prune:  func(t testing.TB) { docker(t, "network", "prune", "-f") },
		Down: func(t testing.TB) {
			if err := host.Engine.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		Up: func(t testing.TB) {
			if err := host.Engine.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func createArgs(spec enginetest.ContainerSpec) []string {
	args := []string{"create", "--name", spec.Name, "--network", spec.Network}
	if spec.Hostname != "" {
		args = append(args, "--hostname", spec.Hostname)
	}
	if spec.Settings.IPv4.IsValid() {
		args = append(args, "--ip", spec.Settings.IPv4.String())
	}
	for _, alias := range spec.Settings.Aliases {
		args = append(args, "--network-alias", alias)
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Labels)) {
		args = append(args, "--label", key+"="+spec.Labels[key])
	}
	return append(args, "busybox", "sleep", "1000000")
}

func engineInfo(t *testing.T, e *engine.Engine, release lab.Release) {
	info, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"macvlan": "local", "rack": "a=b"}; !maps.Equal(info.Labels, want) {
		t.Errorf("labels: got %v, want %v", info.Labels, want)
	}
	want, known := map[lab.Release]string{lab.Docker20: "1.41", lab.Docker26: "1.45", lab.Docker28: "1.51"}[release]
	if known && info.APIVersion != want {
		t.Errorf("API version: got %s, want %s", info.APIVersion, want)
	}
	if info.ID == "" || info.Swarm.State != engine.SwarmInactive || !slices.Contains(info.NetworkPlugins, "macvlan") {
		t.Errorf("info: got %+v", info)
	}
}

// engineWithoutIPv4: only engines from 28 on can make such a network.
func engineWithoutIPv4(t *testing.T, e *engine.Engine, release lab.Release) {
	id, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Name: "six", Driver: "bridge", IPv6: true, Internal: true,
		IPAM: engine.IPAM{Driver: "default", Pools: []engine.Pool{{Subnet: netip.MustParsePrefix("fd00:6::/64")}}},
	})
	if release == lab.Docker20 || release == lab.Docker26 {
		if !errors.Is(err, engine.ErrUnsupported) {
			t.Errorf("create: got error %v, want %v", err, engine.ErrUnsupported)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := e.Network(t.Context(), id)
	if err != nil || n.IPv4 || !n.IPv6 {
		t.Errorf("network: got IPv4 %t, IPv6 %t, %v; want IPv6 alone", n.IPv4, n.IPv6, err)
	}
	if err := e.RemoveNetwork(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// engineOwnGateway: without a subnet the engine tells the pool and gateway it chose.
func engineOwnGateway(t *testing.T, host *lab.Host, e *engine.Engine) {
	id := host.MustDocker(t, "network", "create", "--internal", "own")
	n, err := e.Network(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.IPAM.Pools) != 1 || !n.IPAM.Pools[0].Subnet.Contains(n.IPAM.Pools[0].Gateway) {
		t.Errorf("pools: got %+v, want one with a gateway in it", n.IPAM.Pools)
	}
	if err := e.RemoveNetwork(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// engineSwarm reads a cluster of one manager: it needs only the built-in overlay.
func engineSwarm(t *testing.T, host *lab.Host, e *engine.Engine) {
	host.MustDocker(t, "swarm", "init", "--advertise-addr", "10.99.0.1")
	network := host.MustDocker(t, "network", "create", "-d", "overlay", "--attachable", "--subnet", "10.233.0.0/24", "over")
	service := host.MustDocker(t, "service", "create", "-d", "--replicas", "2", "--name", "web",
		"--network", "name=over,alias=www", "busybox", "sleep", "1000000")

	info, err := e.Info(t.Context())
	if err != nil || info.Swarm.State != engine.SwarmManager || info.Swarm.NodeID == "" || info.Swarm.ClusterID == "" {
		t.Fatalf("swarm: got %+v, %v; want a manager", info.Swarm, err)
	}
	networks, err := e.SwarmNetworks(t.Context())
	if err != nil || !slices.ContainsFunc(networks, func(n engine.Network) bool {
		return n.ID == network && n.Scope == engine.ScopeSwarm && n.Attachable
	}) {
		t.Errorf("networks: got %+v, %v; want %s among them", networks, err, network)
	}
	engineTasks(t, e, network, service)
	services, err := e.Services(t.Context())
	if err != nil || len(services) != 1 {
		t.Fatalf("services: got %+v, %v; want one", services, err)
	}
	got := services[0]
	if got.ID != service || got.Name != "web" || got.Mode != engine.ModeVIP ||
		!slices.Equal(got.Networks[0].Aliases, []string{"www"}) || got.Networks[0].Network != network {
		t.Errorf("service: got %+v", got)
	}
	if len(got.VIPs) != 1 || got.VIPs[0].NetworkID != network || got.VIPs[0].Addr.Bits() != 24 {
		t.Errorf("virtual addresses: got %+v, want one on %s", got.VIPs, network)
	}
}

// engineTasks waits until both tasks have an address.
func engineTasks(t *testing.T, e *engine.Engine, network, service string) {
	t.Helper()
	for {
		tasks, err := e.Tasks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		given := map[netip.Prefix]bool{}
		for _, task := range tasks {
			for _, a := range task.Attachments {
				if task.ServiceID == service && a.NetworkID == network && len(a.Addresses) == 1 {
					given[a.Addresses[0]] = true
				}
			}
		}
		if len(given) == 2 {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("addresses of the tasks: got %v, want two", given)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
