package engine

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/swarm"
)

func TestSwarmState(t *testing.T) {
	for _, c := range []struct {
		state   swarm.LocalNodeState
		control bool
		want    SwarmState
	}{
		{"", false, SwarmInactive},
		{swarm.LocalNodeStateInactive, false, SwarmInactive},
		{swarm.LocalNodeStatePending, false, SwarmPending},
		{swarm.LocalNodeStateError, false, SwarmPending},
		{swarm.LocalNodeStateLocked, true, SwarmPending},
		{swarm.LocalNodeStateActive, false, SwarmWorker},
		{swarm.LocalNodeStateActive, true, SwarmManager},
	} {
		if got := swarmFrom(swarm.Info{LocalNodeState: c.state, ControlAvailable: c.control}).State; got != c.want {
			t.Errorf("state %q, control %t: got %s, want %s", c.state, c.control, got, c.want)
		}
	}
}

// TestManagerWithoutLeader: its networks look gone, and must not.
func TestManagerWithoutLeader(t *testing.T) {
	for _, c := range []struct {
		name, swarm string
		want, not   error
	}{
		{"manager", `{"LocalNodeState":"active","ControlAvailable":true}`, ErrUnavailable, ErrNotManager},
		{"worker", `{"LocalNodeState":"active"}`, ErrNotManager, ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e := serve(t, "1.51")
			for _, path := range []string{"/swarm", "/services", "/tasks"} {
				s.say("GET", path, http.StatusServiceUnavailable, `{"message":"no"}`)
			}
			s.say("GET", "/networks", http.StatusOK, `[]`)
			s.say("GET", "/info", http.StatusOK, `{"Swarm":`+c.swarm+`}`)
			_, networks := e.SwarmNetworks(t.Context())
			_, services := e.Services(t.Context())
			_, tasks := e.Tasks(t.Context())
			for what, err := range map[string]error{"networks": networks, "services": services, "tasks": tasks} {
				if !errors.Is(err, c.want) || errors.Is(err, c.not) {
					t.Errorf("%s: got error %v, want %v", what, err, c.want)
				}
			}
		})
	}
}

func TestTasksKeepsAddressesNotYetAllocated(t *testing.T) {
	s, e := serve(t, "1.51")
	s.say("GET", "/tasks", http.StatusOK, `[{"ID":"t1","NodeID":"n","DesiredState":"running","Status":{"State":"new"},
		"NetworksAttachments":[{"Network":{"ID":"net"},"Addresses":["10.0.0.7","10.0.0.8/24"]}]}]`)
	got, err := e.Tasks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Task{{
		ID: "t1", NodeID: "n", State: "new", DesiredState: "running",
		Attachments: []TaskAttachment{{NetworkID: "net", Addresses: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("10.0.0.8/24"),
		}}},
	}}
	if diff := cmp.Diff(want, got, addresses...); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

// TestTasksAsksForAttachments: unasked, the API lists containers of services
// alone (moby daemon/cluster/tasks.go, GetTasks).
func TestTasksAsksForAttachments(t *testing.T) {
	s, e := serve(t, "1.51")
	s.on("GET", "/tasks", func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.FormValue("filters"), `{"runtime":{"":true,"attachment":true,"container":true}}`; got != want {
			t.Errorf("filters: got %s, want %s", got, want)
		}
		_, _ = w.Write([]byte(`[]`))
	})
	if _, err := e.Tasks(t.Context()); err != nil {
		t.Error(err)
	}
}
