package driver

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

// A running container's endpoint that has no record in the store is one that
// Docker is making or removing: it stays out.
func TestAdoptsNoEndpointThatGoes(t *testing.T) {
	h := newCluster(t).host("h1")
	h.must(h.d.Memory.Put(journal.Network{ID: "n1", UUID: "u1", Stage: journal.StageReplica}))
	attached := engine.Attachment{NetworkID: "n1", EndpointID: "e1"}
	if !h.d.Unclaimed(attached) {
		t.Fatal("the test's endpoint is known")
	}
	h.must(h.d.AdoptEndpoints(t.Context(), []engine.Container{{
		ID: "c1", Name: "web", State: engine.StateRunning, Attachments: []engine.Attachment{attached},
	}}))
	if all := h.d.Memory.Endpoints(); len(all) > 0 {
		t.Errorf("took back %v", all)
	}
}

// A local network has no definition to come back from: the node's own record
// tells of it, which the agent must read before it writes it.
func TestLocalNetworkOfALostJournal(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	request := lan("own", "192.168.1.0/24", func(r *engine.NetworkRequest) { r.Options["scope"] = "local" })
	id := h.create(request)
	var was journal.Network
	var written store.Revision
	told := func(node store.Node) bool {
		return len(node.Networks) == 1 && node.Networks[0].State == string(journal.StageLocal) && node.Networks[0].Name == "own"
	}
	record := func() (store.Node, store.Revision) {
		it, err := h.session.Get(t.Context(), store.NodeKey("h1"))
		if err != nil {
			return store.Node{}, 0
		}
		node, err := store.Decode[store.Node](it)
		h.must(err)
		return node, it.Modified
	}
	h.eventually("the node's record tells of the network", func() bool {
		was, _ = h.d.Memory.Network(id)
		var node store.Node
		node, written = record()
		return told(node)
	})
	h.stop()
	h.must(os.Remove(filepath.Join(h.dir, "journal.db")))
	h.engine.Down() // the agent ends before its engine lists the network
	h.start()
	h.eventually("the record is written anew", func() bool { _, rev := record(); return rev > written })
	if node, _ := record(); !told(node) {
		t.Errorf("the record written before the engine listed its networks forgot the local one: %+v", node.Networks)
	}
	h.stop()
	h.engine.Up()
	h.start()
	h.eventually("the network is taken back", func() bool { _, ok := h.d.Memory.Network(id); return ok })
	now, _ := h.d.Memory.Network(id)
	now.Since, was.Since, was.Name = 0, 0, "own"
	if diff := cmp.Diff(was, now, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("the local network (-was +now):\n%s", diff)
	}
}
