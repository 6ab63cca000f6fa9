package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type fakeSource struct {
	status Status
	err    error
}

func (f fakeSource) Status(context.Context) (Status, error) { return f.status, f.err }

// serve starts a status server of its own and returns a client of it.
func serve(t *testing.T, source statusSource) *statusClient {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "gvlan.sock")
	server, err := newStatusServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server.serveStatus(source)
	server.handle("GET /v1/broken", func(*http.Request) (any, error) { return nil, errors.New("etcd does not answer") })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return newStatusClient(path)
}

func TestStatusOverTheSocket(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := Status{Node: "n1", Host: "host1", Started: started, Networks: []NetworkStatus{{Name: "lan1", Subnets: []string{"10.9.0.0/16"}}}}
	client := serve(t, fakeSource{status: want})

	var got Status
	if err := client.get(t.Context(), statusRoute, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if err := client.get(t.Context(), "/v1/broken", &got); err == nil || err.Error() != "etcd does not answer" {
		t.Errorf("the agent's error arrived as %v", err)
	}
	if err := client.get(t.Context(), "/v1/later", &got); err == nil || !strings.Contains(err.Error(), "older than this command") {
		t.Errorf("an unknown route arrived as %v", err)
	}
	info, err := os.Stat(client.path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket's mode is %o: others than root could ask", mode)
	}
}

// TestAnyNameOverTheSocket: a name is any text, and arrives as it was typed.
func TestAnyNameOverTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan.sock")
	server, err := newStatusServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	echo := func(r *http.Request) (any, error) { return called(r), nil }
	for _, route := range []string{"GET " + networkRoute, "DELETE " + networkRoute, "POST " + importRoute, "POST " + drainRoute} {
		server.handle(route, echo)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	client := newStatusClient(path)
	for _, name := range []string{"lan", "prod/lan", "..", ".", "/", "a//b", "a b", "50%", "x?y#z&name=w", "büro"} {
		for route, method := range map[string]string{networkRoute: http.MethodGet, importRoute: http.MethodPost, drainRoute: http.MethodPost} {
			var got string
			if err := client.ask(t.Context(), method, named(route, name), &got); err != nil || got != name {
				t.Errorf("%s of %q arrived as %q, %v", route, name, got, err)
			}
		}
		var got string
		if err := client.ask(t.Context(), http.MethodDelete, named(networkRoute, name)+"&force", &got); err != nil || got != name {
			t.Errorf("rm --force of %q arrived as %q, %v", name, got, err)
		}
	}
}

func TestStatusSocketOfADeadAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newStatusServer(path, nil); err == nil || !strings.Contains(err.Error(), "another agent answers there") {
		t.Errorf("the socket of a living agent: %v, want a refusal", err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	server, err := newStatusServer(path, nil)
	if err != nil {
		t.Fatalf("the socket of a dead agent: %v", err)
	}
	server.listener.Close()
}

func TestStatusForPeople(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name   string
		status Status
		want   string
	}{
		{
			name: "solo, nothing yet",
			status: Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Solo: true,
				Etcd: EtcdStatus{Endpoints: []string{"http://127.0.0.1:2379"}, Why: "etcd does not answer"}, Engine: EngineStatus{Why: "connection refused"}},
			want: `node      n1 (host host1)
agent     gvlan v1, up 1h30m0s
cluster   not known yet, solo: no other host shares its networks and addresses
etcd      no new addresses: etcd does not answer (http://127.0.0.1:2379)
docker    does not answer: connection refused
releases  none pending

no networks on this host
`,
		},
		{
			name: "at work",
			status: Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Cluster: "c-1",
				Etcd: EtcdStatus{Endpoints: []string{"https://10.0.0.1:2379"}, Trusted: true}, Engine: EngineStatus{Version: "28.5.2"},
				PendingReleases: 2, FailedStarts: []string{"web", "db"},
				Networks: []NetworkStatus{
					{Name: "lan1", Scope: "global", State: "active", Parent: "eth1", Subnets: []string{"10.9.0.0/16", "fd00::/64"}, Endpoints: 3},
					{Scope: "global", State: "seen", Subnets: []string{"10.8.0.0/16"}},
				}},
			want: `node         n1 (host host1)
agent        gvlan v1, up 1h30m0s
cluster      c-1
etcd         answers at https://10.0.0.1:2379
docker       28.5.2
releases     2 pending, until etcd takes them
not started  web, db: their start failed while etcd was away

NETWORK   SCOPE    STATE    PARENT   SUBNETS                 ENDPOINTS HERE
lan1      global   active   eth1     10.9.0.0/16,fd00::/64   3
-         global   seen     -        10.8.0.0/16             0
`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := printStatus(&out, test.status, started.Add(90*time.Minute)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}
