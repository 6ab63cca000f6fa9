package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

// TestWhichAgentsAnEvictionMeans: `gvlan node evict HOST` must not take the
// agent that is at work because the other one is gone.
func TestWhichAgentsAnEvictionMeans(t *testing.T) {
	row := func(node string, live, registered, evicted bool) cluster.Row {
		r := cluster.Row{Node: node, Store: gossip.Node{Registered: registered, Epoch: store.Epoch{Evicted: evicted}}}
		if live {
			r.Store.Live = &store.Live{}
		}
		return r
	}
	both := []string{"h1", "h1.swarm"}
	tests := []struct {
		name string
		rows []cluster.Row
		want []string
	}{
		{"both away", []cluster.Row{row("h1", false, true, false), row("h1.swarm", false, true, false)}, both},
		{"both connected", []cluster.Row{row("h1", true, true, false), row("h1.swarm", true, true, false)}, both},
		{"one away", []cluster.Row{row("h1", false, true, false), row("h1.swarm", true, true, false)}, []string{"h1"}},
		{"one evicted", []cluster.Row{row("h1", false, false, true), row("h1.swarm", true, true, false)}, []string{"h1.swarm"}},
		{"one eviction to be finished", []cluster.Row{row("h1", false, true, true), row("h1.swarm", true, true, false)}, []string{"h1"}},
		{"both evicted", []cluster.Row{row("h1", false, false, true), row("h1.swarm", false, false, true)}, both},
		{"another host", []cluster.Row{row("h1", true, true, false), row("h1.swarm", true, true, false), row("h2", false, true, false)}, both},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, toEvict(test.rows, both)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
