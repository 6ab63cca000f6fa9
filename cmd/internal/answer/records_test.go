package answer

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
)

// TestMirrorFollows: the mirror is what the store has, through changes and a
// second list.
func TestMirrorFollows(t *testing.T) {
	m := store.NewTable[store.Network](store.NetworksSpan(), func(err error) { t.Error(err) })
	item := func(name string) store.Item {
		return store.Item{Key: store.NetworkKey(name), Value: store.Encode(store.Network{Name: name})}
	}
	names := func() string {
		all, known := mirrored(m)
		if !known {
			return "unknown"
		}
		var names []string
		for _, n := range all {
			names = append(names, n.Name)
		}
		return strings.Join(names, " ")
	}
	for _, step := range []struct {
		change store.Change
		want   string
	}{
		{store.Change{Events: nil}, "unknown"},
		{store.Change{Reset: true, Items: []store.Item{item("b"), item("a")}}, "a b"},
		{store.Change{Events: []store.Event{{Item: item("c")}, {Item: item("a"), Deleted: true}}}, "b c"},
		{store.Change{}, "b c"},
		{store.Change{Reset: true, Items: []store.Item{item("d")}}, "d"},
	} {
		m.Apply(step.change)
		if got := names(); got != step.want {
			t.Errorf("after %+v the mirror has %s, want %s", step.change, got, step.want)
		}
	}
}

// TestNetworksWhileEtcdIsAway: they are shown as etcd told of them last, and
// with when that was.
func TestNetworksWhileEtcdIsAway(t *testing.T) {
	mem := storetest.NewMem()
	lan := store.Network{UUID: "u1", Name: "lan", Scope: store.ScopeGlobal, State: store.NetworkActive, Origin: "id1"}
	if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{
		store.Put(store.NetworkKey("lan"), store.Encode(lan)),
		store.Put(store.NodeKey("id1"), store.Encode(store.Node{Node: "id1", Host: "h1", Networks: []store.NodeNetwork{{UUID: "u1", Name: "lan", State: "committed"}}})),
		store.Put(store.LiveKey("id1"), store.Encode(store.Live{})),
		store.Put(store.EndpointKey("id1", "e1"), store.Encode(store.Endpoint{Endpoint: "e1", Node: "id1", Network: "u1", IPv4: "10.0.0.2/24", Container: store.Container{Name: "web"}})),
	}}); err != nil {
		t.Fatal(err)
	}
	r := NewRecords(mem, cluster.NewDirectory(nil), slog.New(slog.DiscardHandler))
	if _, known := r.last(r.directory.Known()); known {
		t.Error("before etcd answered the cluster is known")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- r.directory.Run(ctx, mem) }()
	go func() { done <- r.Run(ctx) }()
	for {
		v, known := r.last(r.directory.Known())
		if known && v.live["id1"] && len(v.nodes) == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	v, _ := r.last(r.directory.Known())
	view, err := v.network("lan", "id1")
	if err != nil {
		t.Fatal(err)
	}
	if listed := v.views(); len(listed) != 1 || listed[0].AsOf.IsZero() || view.AsOf.IsZero() || listed[0].Usable() != 1 {
		t.Errorf("listed as %+v, want one network that a host can use, and how old that is", listed)
	}
	if h := view.Hosts[0]; !h.Connected || len(h.Endpoints) != 1 || h.Endpoints[0].IPv4 != "10.0.0.2/24" {
		t.Errorf("on h1 it is %+v, want a connected host with web's endpoint", h)
	}
}

// TestNodeFollowsNetworksAndEndpoints: while containers come and go nothing
// else changes, and the node must not look behind to the others.
func TestNodeFollowsNetworksAndEndpoints(t *testing.T) {
	r := NewRecords(nil, cluster.NewDirectory(nil), slog.New(slog.DiscardHandler))
	for _, step := range []struct {
		apply func(store.Change)
		at    store.Revision
		want  store.Revision
	}{{r.Endpoints.Apply, 7, 7}, {r.Networks.Apply, 9, 9}, {r.Endpoints.Apply, 8, 9}} {
		step.apply(store.Change{Revision: step.at})
		if got := r.directory.Known().Revision; got != step.want {
			t.Errorf("after a change at revision %d the node follows to %d, want %d", step.at, got, step.want)
		}
	}
}

// TestEndpointsAreEtcds: whatever this host has heard of them yet, they are those
// that etcd has, as it has them.
func TestEndpointsAreEtcds(t *testing.T) {
	mem := storetest.NewMem()
	put := func(node, id, name string) {
		t.Helper()
		e := store.Endpoint{Endpoint: id, Node: node, Container: store.Container{Name: name}}
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.EndpointKey(node, id), store.Encode(e))}}); err != nil {
			t.Fatal(err)
		}
	}
	r := NewRecords(mem, cluster.NewDirectory(nil), slog.New(slog.DiscardHandler))
	check := func(when string, want ...string) {
		t.Helper()
		all, err := r.endpoints(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range all {
			got = append(got, e.Node+"/"+e.Endpoint+"="+e.Container.Name)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("there are none")
	put("a/b", "e1", "web")
	put("c", "e2", "db")
	check("nothing was heard of", "a/b/e1=web", "c/e2=db")
	items, rev, err := mem.List(t.Context(), store.EndpointsSpan())
	if err != nil {
		t.Fatal(err)
	}
	r.Endpoints.Apply(store.Change{Reset: true, Items: items, Revision: rev})
	put("a/b", "e1", "other")
	put("c", "e3", "new")
	if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.EndpointKey("c", "e2"))}}); err != nil {
		t.Fatal(err)
	}
	check("what was heard of is old", "a/b/e1=other", "c/e3=new")
	var many []string
	for i := range fewBehind + 1 {
		id := fmt.Sprintf("m%03d", i)
		put("m", id, "x")
		many = append(many, "m/"+id+"=x")
	}
	check("most was not heard of", append([]string{"a/b/e1=other", "c/e3=new"}, many...)...)
	has, err := r.endpointsByNode(t.Context())
	if err != nil || len(has) != 3 || has["a/b"] != 1 || has["c"] != 1 || has["m"] != fewBehind+1 {
		t.Errorf("by node %v, %v", has, err)
	}
}

// unasked is a store that nobody may ask.
type unasked struct {
	store.KV
	t *testing.T
}

func (u unasked) List(context.Context, store.Span) ([]store.Item, store.Revision, error) {
	u.t.Error("the store is asked for a list")
	return nil, 0, store.ErrUnavailable
}

func (u unasked) Scan(context.Context, store.Span, store.Parts, func([]store.Item) error) (store.Revision, error) {
	u.t.Error("the store is asked for a span")
	return 0, store.ErrUnavailable
}

// TestWhatIsKnownAsksNobody: a shell that completes a word waits no longer than a
// person who types.
func TestWhatIsKnownAsksNobody(t *testing.T) {
	a, _, _ := leases(t)
	a.Records.kv = unasked{a.Records.kv, t}
	networks, err := asked[[]api.NetworkView](t, Networks{Records: a.Records, Reservations: a.Reservations}.list, api.Known(api.NetworksRoute))
	if err != nil || len(networks) != 1 || networks[0].Name != "lan" {
		t.Errorf("networks: %+v, %v", networks, err)
	}
	nodes, err := asked[[]api.NodeView](t, Nodes{Roster: a.Roster, Records: a.Records}.list, api.Known(api.NodesRoute))
	if err != nil || len(nodes) != 2 || nodes[0].Name != "h1" {
		t.Errorf("nodes: %+v, %v", nodes, err)
	}
}
