package cluster_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

func TestStateOf(t *testing.T) {
	tests := []struct {
		live, alive bool
		want        cluster.State
	}{
		{true, true, cluster.Ready},
		{true, false, cluster.Unreachable},
		{false, true, cluster.Detached},
		{false, false, cluster.Down},
	}
	for _, test := range tests {
		if got := cluster.StateOf(test.live, test.alive); got != test.want {
			t.Errorf("StateOf(live %v, alive %v) = %s, want %s", test.live, test.alive, got, test.want)
		}
	}
}

func TestView(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	nics := []store.Interface{{Name: "eth0", MTU: 1500}}
	known := gossip.Known{Nodes: map[string]gossip.Node{
		"ready":    {Name: "ready", Registered: true, Live: &store.Live{Since: 100}, Description: store.Node{Interfaces: nics}},
		"deaf":     {Name: "deaf", Registered: true, Live: &store.Live{Since: 100}},
		"detached": {Name: "detached", Registered: true, Gone: at(300)},
		"down":     {Name: "down", Registered: true, Gone: at(300)},
		"evicted":  {Name: "evicted", Epoch: store.Epoch{Evicted: true}},
		"past":     {Name: "past", Epoch: store.Epoch{Epoch: 3}},
	}}
	members := []gossip.Member{
		{Node: "ready", Standing: gossip.Alive, Since: at(50), Meta: gossip.Meta{Parents: 99}},
		{Node: "deaf", Standing: gossip.Failed, Since: at(400)},
		{Node: "detached", Standing: gossip.Alive, Since: at(50)},
		{Node: "down", Standing: gossip.Left, Since: at(310)},
		{Node: "stranger", Standing: gossip.Alive, Since: at(60)},
	}
	type brief struct {
		Node  string
		State cluster.State
		Since time.Time
		Stale bool
		Left  bool
	}
	shorten := func(rows []cluster.Row) (all []brief) {
		for _, r := range rows {
			all = append(all, brief{r.Node, r.State, r.Since, r.StaleParents, r.Stopped})
		}
		return all
	}
	tests := []struct {
		name    string
		members []gossip.Member
		want    []brief
	}{
		{"with gossip", members, []brief{
			{"deaf", cluster.Unreachable, at(400), false, false},
			{"detached", cluster.Detached, at(300), false, false},
			{"down", cluster.Down, at(310), false, true},
			{"evicted", cluster.Evicted, time.Time{}, false, false},
			{"ready", cluster.Ready, at(100), true, false},
			{"stranger", cluster.Detached, time.Time{}, false, false},
		}},
		{"with gossip off", nil, []brief{
			{"deaf", cluster.Ready, at(100), false, false},
			{"detached", cluster.Down, at(300), false, false},
			{"down", cluster.Down, at(300), false, false},
			{"evicted", cluster.Evicted, time.Time{}, false, false},
			{"ready", cluster.Ready, at(100), false, false},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, shorten(cluster.View(known, test.members))); diff != "" {
				t.Errorf("view (-want +got):\n%s", diff)
			}
		})
	}
}
