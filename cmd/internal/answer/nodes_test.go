package answer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
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

// TestTheOnlyVoterIsNotEvicted: nothing could be written any more.
func TestTheOnlyVoterIsNotEvicted(t *testing.T) {
	called := func(node string) string { return node + ".example" }
	for _, test := range []struct {
		name            string
		voters, learner []string
		evict           []string
		refused         bool
	}{
		{"the only one", []string{"h1"}, nil, []string{"h1", "h1.swarm"}, true},
		{"the only one beside a learner", []string{"h1"}, []string{"h2"}, []string{"h1"}, true},
		{"a learner", []string{"h1"}, []string{"h2"}, []string{"h2"}, false},
		{"one of three", []string{"h1", "h2", "h3"}, nil, []string{"h1"}, false},
		{"a host without a member", []string{"h1"}, nil, []string{"h2"}, false},
		{"nobody knows yet", nil, nil, []string{"h1"}, false},
	} {
		mem := storetest.NewMem()
		put := func(node string, learner bool) {
			member := store.Member{Node: node, Learner: learner}
			if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.MemberKey(node), store.Encode(member))}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, node := range test.voters {
			put(node, false)
		}
		for _, node := range test.learner {
			put(node, true)
		}
		err := sparesVoters(t.Context(), mem, test.evict, called)
		if (err != nil) != test.refused || err != nil && !strings.Contains(err.Error(), "gvlan node drain h1.example") {
			t.Errorf("%s: %v, refused: want %v", test.name, err, test.refused)
		}
	}
}

// TestStatusNamesHostsAsOthersDo: hosts of one name are told apart by their nodes, as
// in every other list.
func TestStatusNamesHostsAsOthersDo(t *testing.T) {
	row := func(node, host string) cluster.Row {
		return cluster.Row{Node: node, Store: gossip.Node{Description: store.Node{Node: node, Host: host}}}
	}
	var got []string
	for _, h := range hostsStatus([]cluster.Row{row("0a", "alpha"), row("0b", "twin"), row("0c", "twin"), row("0d", "")}) {
		got = append(got, h.Host)
	}
	if diff := cmp.Diff([]string{"0b", "0c", "0d", "alpha"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
