package evict_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/events"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/evict"
	"gvlan/ipam/pool"
)

// TestRelease frees what nobody uses, and says of everything else who uses it and
// what to do.
func TestRelease(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.5")
	key := store.LeaseKey(pool.DefaultSegment, addr)
	lease := func(node, endpoint string) store.Lease {
		return store.Lease{State: store.Leased, Node: node, Network: "u1", Endpoint: endpoint}
	}
	connected := store.Put(store.LiveKey("id2"), store.Encode(store.Live{}))
	known := store.Put(store.EpochKey("id2"), store.Encode(store.Epoch{Epoch: 3}))
	quarantined := lease("id2", "e2")
	quarantined.State = store.Quarantined
	for _, test := range []struct {
		name    string
		rec     store.Lease
		beside  []store.Op
		held    bool   // by this node's memory
		answers string // of the LAN
		unasked bool
		force   bool
		why     string // "": it is free
	}{
		{name: "of a node that nobody knows", rec: lease("id9", "e9")},
		{name: "of this node, which forgot it", rec: lease("id1", "")},
		{name: "of this node, which knows it", rec: lease("id1", ""), held: true, force: true, why: "this host is about to give it to a container"},
		{name: "of a container", rec: lease("id2", "e2"), force: true, why: "container web on host h2 has it: stop or remove it there",
			beside: []store.Op{store.Put(store.EndpointKey("id2", "e2"), store.Encode(store.Endpoint{Container: store.Container{Name: "web"}}))}},
		{name: "of a container of this node, which forgot it", rec: lease("id1", "e1"), force: true, why: "container web on host h1 has it",
			beside: []store.Op{store.Put(store.EndpointKey("id1", "e1"), store.Encode(store.Endpoint{Container: store.Container{Name: "web"}}))}},
		{name: "of a node that is connected", rec: lease("id2", ""), beside: []store.Op{connected, known}, force: true, why: "host h2 is connected and looks after it"},
		{name: "of a node that is away", rec: lease("id2", "e2"), beside: []store.Op{known}, force: true, why: "if it is gone for good, gvlan node evict h2"},
		{name: "that answers", rec: lease("id9", ""), answers: "02:00:00:00:00:07 at eth1", force: true, why: "it answers on the LAN (02:00:00:00:00:07 at eth1)"},
		{name: "that cannot be asked for", rec: lease("id9", ""), unasked: true, why: "or give --force"},
		{name: "that cannot be asked for, by force", rec: lease("id9", ""), unasked: true, force: true},
		{name: "in quarantine", rec: quarantined, beside: []store.Op{known}, why: "--force ends its quarantine now"},
		{name: "in quarantine, by force", rec: quarantined, beside: []store.Op{known}, force: true},
		{name: "in quarantine, and answers", rec: quarantined, answers: "02:00:00:00:00:07 at eth1", force: true, why: "it answers on the LAN"},
		{name: "a gateway", rec: store.Lease{State: store.Reserved, By: []string{"u1"}}, force: true, why: "network lan keeps it, as its gateway or an auxiliary address: it is free when that network is removed (gvlan network rm lan)"},
		{name: "of a create", rec: store.Lease{State: store.Reserved, By: []string{store.PoolEntry("ab", "id2")}}, why: "it is kept for a network that host h2 makes"},
		{name: "of a network that is gone", rec: store.Lease{State: store.Reserved, By: []string{"u9"}}, why: "gvlan audit --repair"},
		{name: "of the swarm", rec: store.Lease{State: store.Leased, Claims: &store.Claims{Manager: true}}, force: true, why: "docker service rm"},
	} {
		t.Run(test.name, func(t *testing.T) {
			mem := storetest.NewMem()
			if _, err := mem.Commit(t.Context(), store.Txn{Then: append(test.beside, store.Put(key, store.Encode(test.rec)))}); err != nil {
				t.Fatal(err)
			}
			shown, err := mem.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			heard := &eventstest.Heard{}
			release := evict.Release{
				KV: mem, Self: "id1", Events: heard,
				Holds:   func(string, netip.Addr) bool { return test.held },
				Answers: func(context.Context, netip.Addr) (string, bool) { return test.answers, !test.unasked },
				Called:  func(node string) string { return strings.Replace(node, "id", "h", 1) },
				Network: func(called string) string { return map[string]string{"u1": "lan"}[called] },
			}
			err = release.Address(t.Context(), pool.DefaultSegment, addr, shown.Modified+1, test.force)
			if !errors.Is(err, evict.ErrChanged) {
				t.Errorf("a record that changed: %v", err)
			}
			err = release.Address(t.Context(), pool.DefaultSegment, addr, shown.Modified, test.force)
			_, left := mem.Get(t.Context(), key)
			switch {
			case test.why == "" && (err != nil || !errors.Is(left, store.ErrNotFound)):
				t.Errorf("not freed: %v", err)
			case test.why != "" && (!errors.Is(err, evict.ErrUsed) || !strings.Contains(err.Error(), test.why) || left != nil):
				t.Errorf("%v (and %v), want %q", err, left, test.why)
			}
			var want []events.Event // who reads the events finds whose it was
			if test.why == "" {
				want = []events.Event{{Kind: events.Released, Node: test.rec.Node, Network: "lan", Segment: pool.DefaultSegment, Address: addr, Endpoint: test.rec.Endpoint, Text: "by gvlan lease release"}}
			}
			if got := heard.Of(); !slices.Equal(got, want) {
				t.Errorf("told %+v, want %+v", got, want)
			}
		})
	}
}

// TestReleaseOfWhatChangesMeanwhile frees nothing: a container may have got it.
func TestReleaseOfWhatChangesMeanwhile(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.5")
	key := store.LeaseKey(pool.DefaultSegment, addr)
	rec := store.Lease{State: store.Leased, Node: "id9", Network: "u1", Endpoint: "e9"}
	for name, change := range map[string]store.Op{
		"the lease":        store.Put(key, store.Encode(rec)),
		"the endpoint":     store.Put(store.EndpointKey("id9", "e9"), store.Encode(store.Endpoint{})),
		"the node came":    store.Put(store.EpochKey("id9"), store.Encode(store.Epoch{})),
		"the node is here": store.Put(store.LiveKey("id9"), store.Encode(store.Live{})),
	} {
		mem := storetest.NewMem()
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(key, store.Encode(rec))}}); err != nil {
			t.Fatal(err)
		}
		shown, err := mem.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		release := evict.Release{
			KV: mem, Self: "id1", Events: &eventstest.Heard{}, Holds: func(string, netip.Addr) bool { return false },
			Called: func(node string) string { return node }, Network: func(string) string { return "" },
			Answers: func(ctx context.Context, _ netip.Addr) (string, bool) {
				if _, err := mem.Commit(ctx, store.Txn{Then: []store.Op{change}}); err != nil {
					t.Error(err)
				}
				return "", true
			},
		}
		if err := release.Address(t.Context(), pool.DefaultSegment, addr, shown.Modified, true); !errors.Is(err, evict.ErrChanged) {
			t.Errorf("%s: %v, want that it changed", name, err)
		}
		if _, err := mem.Get(t.Context(), key); err != nil {
			t.Errorf("%s: the lease is gone: %v", name, err)
		}
	}
}
