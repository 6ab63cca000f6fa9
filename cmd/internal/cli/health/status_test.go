package health

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/api"
)

func TestStatusForPeople(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name   string
		status api.Status
		want   string
	}{
		{
			name: "solo, nothing yet",
			status: api.Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Solo: true,
				Etcd: api.EtcdStatus{Endpoints: []string{"http://127.0.0.1:2379"}, Why: "etcd does not answer"}, Engine: api.EngineStatus{Why: "connection refused"}},
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
			status: api.Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Cluster: "c-1",
				Etcd: api.EtcdStatus{Endpoints: []string{"https://10.0.0.1:2379"}, Trusted: true}, Engine: api.EngineStatus{Version: "28.5.2"},
				Defined:         api.DefinedStatus{Networks: 1, Made: 1},
				PendingReleases: 2, FailedStarts: []string{"web", "db"},
				Networks: []api.NetworkStatus{
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
		{
			name: "networks are being made",
			status: api.Status{Node: "n1", Host: "host1", Version: "v1", Started: started, Cluster: "c-1",
				Etcd:   api.EtcdStatus{Endpoints: []string{"https://10.0.0.1:2379"}, Trusted: true},
				Engine: api.EngineStatus{Version: "28.5.2"}, Defined: api.DefinedStatus{Networks: 1000, Made: 312, Failed: 2}},
			want: `node      n1 (host host1)
agent     gvlan v1, up 1h30m0s
cluster   c-1
etcd      answers at https://10.0.0.1:2379
docker    28.5.2
networks  312 of 1000 defined are made on this host; 2 could not be made and are tried again
releases  none pending

no networks on this host
`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := PrintStatus(&out, test.status, started.Add(90*time.Minute)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}
