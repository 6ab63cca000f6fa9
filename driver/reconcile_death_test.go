package driver

import (
	"slices"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/reconcile"
)

// foundWithin is how soon what a dead agent left is gone once there is an
// agent again: cluster/README.md's two minutes.
const foundWithin = 2 * time.Minute

// TestWhatADeadAgentLeftIsFound: whatever ended the agent, and whatever its
// engine did while there was none, the next one is through with it in the
// rounds of two minutes.
func TestWhatADeadAgentLeftIsFound(t *testing.T) {
	for name, leave := range map[string]func(h *machine, web *container){
		"a container that the engine removed": func(h *machine, web *container) {
			h.engine.StopContainer(web.id)
		},
		"a container, its link back with the host": func(h *machine, web *container) {
			h.must(h.links.Move(web.joined.InterfaceName.SrcName, link.Current, ""))
			h.engine.StopContainer(web.id)
		},
		"an endpoint that only the store knows": func(h *machine, web *container) {
			h.must(h.d.Memory.Drop(journal.Endpoint{ID: web.endpoint}))
			h.engine.StopContainer(web.id)
		},
		"an address whose endpoint is deleted": func(h *machine, web *container) {
			_, err := h.call("NetworkDriver.DeleteEndpoint", map[string]any{"NetworkID": web.network.id, "EndpointID": web.endpoint})
			h.must(err)
			h.engine.StopContainer(web.id)
		},
		"an address that no endpoint came of": func(h *machine, web *container) {
			_, err := h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": web.network.pools[0].id})
			h.must(err)
			h.engine.StopContainer(web.id)
		},
		"a pool that no network came of": func(h *machine, web *container) {
			h.openUnused()
			h.engine.StopContainer(web.id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newCluster(t).host("h1")
			h.create(lan("lan1", "10.0.1.0/24"))
			h.replica("lan1")
			before := len(h.records(store.AllLeasesSpan()))
			leave(h, h.run("web", "lan1"))
			h.restart()
			r := h.reconciler()
			if len(h.records(store.AllLeasesSpan())) == before {
				t.Fatal("nothing is left to be found")
			}
			for passed := reconcile.ReconcileEvery; passed <= foundWithin; passed += reconcile.ReconcileEvery {
				r.round(reconcile.ReconcileEvery)
			}
			if h.addresses.Pending() > 0 || len(h.records(store.AllLeasesSpan())) != before || len(h.records(store.EndpointsSpan())) > 0 || len(h.ours()) > 0 {
				t.Errorf("after %s this is left: links %v and\n%s", foundWithin, h.ours(), h.state())
			}
		})
	}
}

// TestOneFailureHidesNothingElse: a swarm without a leader answers no question
// about its networks, and the links a crash left are this host's own affair.
func TestOneFailureHidesNothingElse(t *testing.T) {
	h, _ := leader(t)
	_, err := h.links.Ensure(t.Context(), link.Spec{Name: link.EndpointName("dead"), Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth1", Owner: "dead"})
	h.must(err)
	if !slices.Contains(h.ours(), link.EndpointName("dead")) {
		t.Fatalf("links %v, want the dead endpoint's", h.ours())
	}
	h.engine.Fail("SwarmNetworks", engine.ErrUnavailable)
	if err := h.d.Reconcile(t.Context(), h.reconciler().s); err == nil {
		t.Error("the round says nothing of the swarm that did not answer")
	}
	if left := h.ours(); len(left) > 0 {
		t.Errorf("links %v are left", left)
	}
}
