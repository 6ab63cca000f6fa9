package answer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
)

func TestVerdict(t *testing.T) {
	row := func(node string, state cluster.State) cluster.Row { return cluster.Row{Node: node, State: state} }
	stopped, evicted := row("h2", cluster.Down), row("h2", cluster.Down)
	stopped.Stopped, evicted.Store = true, gossip.Node{Epoch: store.Epoch{Evicted: true}}
	stopping := row("h2", cluster.Unreachable)
	stopping.Member = &gossip.Member{Standing: gossip.Left}
	network := func(scope store.NetworkScope, whys ...string) api.NetworkView {
		v := api.NetworkView{Name: "lan", Scope: string(scope), State: string(store.NetworkActive)}
		for i, why := range whys {
			v.Hosts = append(v.Hosts, api.NetworkHost{Node: []string{"h1", "h2", "h3"}[i], Connected: true, State: "replica", Why: why})
		}
		return v
	}
	away := network(store.ScopeGlobal, "no usable parent", "")
	away.Hosts[0].Connected = false
	removing := network(store.ScopeGlobal, "no usable parent")
	removing.State = string(store.NetworkRemoving)
	set := "gvlan network inspect lan; gvlan network set lan parent=... changes its parents"
	asks := api.EtcdStatus{Why: "the store lost its past: gvlan recover", Asks: true}
	dark := api.EtcdStatus{Why: "etcd does not answer", Endpoints: []string{"https://10.0.0.9:2379"}}
	used := []api.NetworkStatus{{Name: "lan", Parent: "eth1", Endpoints: 2}, {Name: "six", Parent: "eth1", Endpoints: 1}, {Name: "idle", Parent: "eth2"}}
	tests := []struct {
		name string
		make func(*found)
		want []api.Problem
	}{
		{"nothing", func(*found) {}, []api.Problem{}},
		{"a host is down", func(f *found) { f.rows = append(f.rows, row("h2", cluster.Down)) },
			[]api.Problem{{What: "host h2 is down", Cure: "systemctl start gvlan there, or gvlan node evict h2 when it will not come back"}}},
		{"hosts are down", func(f *found) { f.rows = append(f.rows, row("h3", cluster.Down), stopped, row("h10", cluster.Down)) },
			[]api.Problem{{What: "hosts h10, h3 are down", Cure: "systemctl start gvlan there, or gvlan node evict HOST when it will not come back"}}},
		{"a host was stopped", func(f *found) { f.rows = append(f.rows, stopped) }, []api.Problem{}},
		{"a host was evicted", func(f *found) { f.rows = append(f.rows, evicted) }, []api.Problem{}},
		{"who is down is not known", func(f *found) { f.rows, f.fresh = append(f.rows, row("h2", cluster.Down)), false }, []api.Problem{}},
		{"a host without the store", func(f *found) { f.rows = append(f.rows, row("h2", cluster.Detached)) },
			[]api.Problem{{What: "host h2 has lost the store: new addresses are refused there", Cure: "gvlan status there"}}},
		{"a host nobody hears", func(f *found) { f.rows = append(f.rows, row("h2", cluster.Unreachable)) },
			[]api.Problem{{What: "no host gets an answer from h2, which is connected to the store", Cure: "gvlan doctor there: is UDP and TCP 7947 open?"}}},
		{"a host that is being stopped", func(f *found) { f.rows = append(f.rows, stopping) }, []api.Problem{}},
		{"a network without a parent anywhere", func(f *found) {
			f.networks = append(f.networks, network(store.ScopeGlobal, "no usable parent", "no usable parent"))
		},
			[]api.Problem{{What: "network lan can be used on no host: no usable parent", Cure: set}}},
		{"a network without a parent on one host", func(f *found) {
			f.networks = append(f.networks, network(store.ScopeGlobal, "", "no usable parent", "no usable parent"))
		},
			[]api.Problem{{What: "network lan cannot be used on h2, h3: no usable parent", Cure: set}}},
		{"a host that is away cannot use a network", func(f *found) { f.networks = append(f.networks, away) }, []api.Problem{}},
		{"a network that goes", func(f *found) { f.networks = append(f.networks, removing) }, []api.Problem{}},
		{"a network of one host", func(f *found) { f.networks = append(f.networks, network("local", "no usable parent")) },
			[]api.Problem{{What: "network lan cannot be used on h1: no usable parent", Cure: "gvlan network inspect lan"}}},
		{"a parent is down under containers", func(f *found) {
			f.status.Parents, f.status.Networks = []api.ParentStatus{{Name: "eth1", MTU: 1500}}, used
		},
			[]api.Problem{{What: "parent eth1 is down: containers here reach nobody on lan, six", Cure: "ip link set eth1 up; is its cable in?"}}},
		{"a parent is up", func(f *found) {
			f.status.Parents, f.status.Networks = []api.ParentStatus{{Name: "eth1", MTU: 1500, Up: true}}, used
		}, []api.Problem{}},
		{"a parent is not listed", func(f *found) { f.status.Parents, f.status.Networks = []api.ParentStatus{{Name: "eth1"}}, used }, []api.Problem{}},
		{"a parent that nobody uses is down", func(f *found) {
			f.status.Parents, f.status.Networks = []api.ParentStatus{{Name: "eth2", MTU: 1500}}, used
		}, []api.Problem{}},
		{"Docker is away", func(f *found) { f.status.Engine.Why = "connection refused" },
			[]api.Problem{{What: "Docker does not answer: connection refused", Cure: "systemctl status docker"}}},
		{"the store waits for a person", func(f *found) { f.status.Etcd = asks }, []api.Problem{{What: "no new address is given: the store lost its past: gvlan recover"}}},
		{"somebody else's store is away", func(f *found) { f.status.Etcd = dark },
			[]api.Problem{{What: "no new address is given: etcd does not answer", Cure: "look at the store at https://10.0.0.9:2379"}}},
		{"members are away", func(f *found) {
			f.status.Etcd, f.status.Store = dark, []api.StoreStatus{{Host: "h1", Answers: true}, {Host: "h2"}, {Host: "h3"}}
		}, []api.Problem{{What: "no new address is given: etcd does not answer",
			Cure: "start the agents on h2, h3 (systemctl start gvlan), or gvlan store recover when they are lost for good"}}},
		{"an address is another's too", func(f *found) { f.status.Warnings = []string{"address 10.0.0.2 of web is db's as well: stop one"} },
			[]api.Problem{{What: "address 10.0.0.2 of web is db's as well: stop one"}}},
		{"a full network", func(f *found) {
			f.status.Networks = []api.NetworkStatus{
				{Name: "lan", Pools: []api.PoolStatus{{Subnet: "10.0.0.0/30", Used: 2}, {Subnet: "10.0.1.0/30", Used: 1}, {Subnet: "fd00::/64", Used: 3, Free: 9}}},
				{Name: "rests", Pools: []api.PoolStatus{{Subnet: "10.0.2.0/30", Used: 2, Resting: 1}}},
				{Name: "room", Pools: []api.PoolStatus{{Subnet: "10.0.3.0/30", Used: 2}, {Subnet: "10.0.4.0/30", Free: 2}}},
				{Name: "one", Pools: []api.PoolStatus{{Subnet: "10.0.5.9/32", Used: 1}}},
				{Name: "none"},
			}
		},
			[]api.Problem{{What: "network lan is full: all its 3 IPv4 addresses are in use, and the next container is refused",
				Cure: "gvlan pool ls; gvlan lease ls --network lan says by whom; gvlan network set lan range+=CIDR adds some of its subnet"}}},
		{"failed starts", func(f *found) { f.status.FailedStarts = []string{"web", "db"} },
			[]api.Problem{{What: "not started, and Docker does not try again: web, db", Cure: "docker start web db"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := found{
				status: api.Status{Node: "h1", Etcd: api.EtcdStatus{Trusted: true}}, fresh: true,
				rows:   []cluster.Row{row("h1", cluster.Ready)},
				called: func(node string) string { return node },
			}
			test.make(&f)
			if diff := cmp.Diff(test.want, f.problems()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostsThatWereStopped are told from those that died.
func TestHostsThatWereStopped(t *testing.T) {
	got := hostsStatus([]cluster.Row{{Node: "h1", State: cluster.Down}, {Node: "h2", State: cluster.Down, Stopped: true}})
	want := []api.HostStatus{{Host: "h1", State: "down"}, {Host: "h2", State: "down", Stopped: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
