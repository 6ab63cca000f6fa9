package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/cli/health"
)

func TestStatusForPeople(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := started.Add(72*time.Hour + time.Minute)
	etcd := api.EtcdStatus{Endpoints: []string{"https://10.0.0.1:2379"}, Trusted: true}
	tests := []struct {
		name   string
		status api.Status
		want   string
	}{
		{
			name: "solo, nothing yet",
			status: api.Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Solo: true,
				Problems: []api.Problem{{What: "no new address is given: etcd does not answer"}, {What: "Docker does not answer: connection refused", Cure: "systemctl status docker"}},
				Etcd:     api.EtcdStatus{Endpoints: []string{"http://127.0.0.1:2379"}, Why: "etcd does not answer"}, Engine: api.EngineStatus{Why: "connection refused"}},
			want: `2 problems:

  -   no new address is given: etcd does not answer
  -   Docker does not answer: connection refused
      cure: systemctl status docker

host      host1, gvlan v1, up 3 days
cluster   solo: no other host shares its networks and addresses (gvlan init opens it to others)
store     gives no new addresses; http://127.0.0.1:2379
docker    does not answer

no networks on this host
`,
		},
		{
			name: "at work",
			status: api.Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Cluster: "c-1",
				Etcd: etcd, Engine: api.EngineStatus{Version: "28.5.2"}, Gossip: &api.GossipStatus{Answering: 3},
				Hosts:   []api.HostStatus{{Host: "host1", State: "ready"}, {Host: "host2", State: "down", Since: now.Add(-5 * time.Minute)}, {Host: "host3", State: "ready"}, {Host: "host4", State: "down", Stopped: true}},
				Store:   []api.StoreStatus{{Host: "host1", Role: "leader", Answers: true}, {Host: "host2", Role: "voter"}, {Host: "host3", Role: "voter", Answers: true}, {Host: "host4", Role: "learner", Answers: true}, {Host: "host5", Role: "learner"}},
				Parents: []api.ParentStatus{{Name: "eth1", Up: true, MTU: 1500, Networks: []string{"iot", "lan1"}}, {Name: "eth2", MTU: 9000, Networks: []string{"lab"}}},
				Defined: api.DefinedStatus{Networks: 3, Made: 2, Failed: 1}, PendingReleases: 2,
				Hints: []string{"network lan1: published ports (-p) have no effect (web)"},
				Networks: []api.NetworkStatus{
					{Name: "lan1", Scope: "global", State: "committed", Parent: "eth1", Subnets: []string{"10.9.0.0/24", "fd00::/64", "fd01::/48"}, Endpoints: 3, Pools: []api.PoolStatus{
						{Subnet: "10.9.0.0/24", Used: 30, Free: 96, Resting: 1, Reserved: 129}, {Subnet: "fd00::/64", Used: 3, Free: 1<<64 - 6}, {Subnet: "fd01::/48", Used: 3, Free: 1<<64 - 1},
					}},
					{Scope: "global", State: "seen", Subnets: []string{"10.8.0.0/16"}},
				}},
			want: `healthy

host       host1, gvlan v1, up 3 days
cluster    4 hosts: host2 down for 5 minutes, host4 stopped, the others ready
store      host1 leads, host2 does not answer, host3 votes, host4 keeps a copy, host5 does not answer
docker     28.5.2
gossip     3 answer
parents    eth1 up, mtu 1500 (iot, lan1); eth2 down, mtu 9000 (lab)
networks   2 of 3 defined are made on this host; 1 could not be made and are tried again
releases   2 wait until etcd takes them
hint       network lan1: published ports (-p) have no effect (web)

NETWORK   SUBNET        USED            FREE        NOT GIVEN   PARENT   HERE
lan1      10.9.0.0/24   ###....... 30   97          129         eth1     3
-         fd00::/64     #......... 3    2^64        -           -        -
-         fd01::/48     #......... 3    over 2^64   -           -        -
-         10.8.0.0/16   -               -           -           -        0
`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := health.PrintStatus(&out, test.status, now); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStatusTellsByItsExit, whichever way it is printed.
func TestStatusTellsByItsExit(t *testing.T) {
	for _, test := range []struct {
		problems []api.Problem
		status   int
		verdict  string
	}{
		{[]api.Problem{}, frame.Well, "healthy\n"},
		{[]api.Problem{{What: "host h2 is down", Cure: "start it"}}, frame.Unhealthy, "1 problem:\n\n  -   host h2 is down\n      cure: start it\n"},
	} {
		socket := clitest.Agent(t, clitest.Answers{"GET " + api.StatusRoute: api.Status{Problems: test.problems, Hosts: []api.HostStatus{{Host: "h1", State: "ready"}}}})
		for _, args := range [][]string{{}, {"--cluster"}, {"--json"}} {
			got := clitest.Type(t, health.NewStatus(), socket, args...)
			if got.Status != test.status || len(args) == 0 && !strings.HasPrefix(got.Out, test.verdict) {
				t.Errorf("gvlan status %v: %+v, want exit status %d and %q first", args, got, test.status, test.verdict)
			}
		}
	}
}

func TestStatusOfTheCluster(t *testing.T) {
	socket := clitest.Agent(t, clitest.Answers{"GET " + api.StatusRoute: api.Status{
		Hosts: []api.HostStatus{{Host: "h1", State: "ready"}, {Host: "h2", State: "down"}, {Host: "h3", State: "down", Stopped: true}}, Store: []api.StoreStatus{{Host: "h1", Role: "leader"}},
	}})
	want := []string{"healthy", "NODE STATE FOR STORE", "h1 ready - leader", "h2 down - -", "h3 down, stopped - -"}
	if diff := cmp.Diff(want, clitest.Lines(clitest.Type(t, health.NewStatus(), socket, "--cluster").Out)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
