package driver

import (
	"slices"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/endpoint"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
)

// What the handlers were told and what the engine lists differ for a while:
// Docker lists a network after its CreateNetwork was answered, and drops it
// after its DeleteNetwork was.

const (
	listed = plan.ListedAfter + time.Second
	lost   = plan.LostAfter + time.Second
)

func TestNetworkThatTheEngineListsLateIsDefinedThen(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	r := lan("lan1", "10.0.1.0/24")
	id, err := h.engine.tellCreated(r)
	h.must(err)
	h.settle()
	c.pass(listed / 2)
	h.settle()
	if n, ok := h.d.Memory.Network(id); !ok || n.Stage != journal.StageSeen {
		t.Fatalf("network %+v %v, want it waited for", n, ok)
	}
	h.engine.list(id, r)
	if n := h.replica("lan1"); n.ID != id {
		t.Errorf("the definition is %s's", n.ID)
	}
}

func TestNetworkThatTheEngineNeverListsIsForgotten(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	_, err := h.engine.tellCreated(lan("lan1", "10.0.1.0/24", with("parent", "eth1.20")))
	h.must(err)
	h.settle() // it is missing from the first look on
	c.pass(listed)
	c.eventually("the journal forgets it", func() bool { return len(h.d.Memory.Networks()) == 0 })
	r := h.reconciler()
	r.round(0)
	r.round(host.SecondLook)
	c.nothingLeft()
}

func TestNetworkRemovedBeforeItWasDefinedLeavesNothing(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	unseen := make(chan struct{})
	h.engine.hold(unseen)
	h.create(lan("lan1", "10.0.1.0/24"))
	h.rm("lan1")
	close(unseen)
	c.pass(quiet)
	c.eventually("the journal forgets it", func() bool { return len(h.d.Memory.Networks()) == 0 })
	if _, defined := c.definition("lan1"); defined {
		t.Error("it was defined after its removal")
	}
	c.nothingLeft()
}

// TestNetworkThatTheEngineStillListsAfterItsDelete: Docker is at it, and when
// it gives up the network works as before.
func TestNetworkThatTheEngineStillListsAfterItsDelete(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	id := h.create(lan("lan1", "10.0.1.0/24"))
	uuid := h.replica("lan1").UUID
	_, err := h.call("NetworkDriver.DeleteNetwork", map[string]any{"NetworkID": id})
	h.must(err)
	c.pass(quiet)
	h.settle()
	if n, _ := h.d.Memory.Network(id); n.Stage != journal.StageGone {
		t.Errorf("stage %s, want gone while Docker is at it", n.Stage)
	}
	_, err = h.tryRun("early", "lan1")
	h.wantErr(err, endpoint.ErrUnknownNetwork.Error())
	c.pass(listed)
	c.eventually("the network works again", func() bool { n, _ := h.d.Memory.Network(id); return n.Stage != journal.StageGone })
	if n := h.replica("lan1"); n.ID != id || n.UUID != uuid {
		t.Errorf("it is %+v, want the network as before", n)
	}
	h.run("web", "lan1", ip("10.0.1.50"))
}

// TestNetworkThatTheEngineLostComesBack: nothing told of a removal.
func TestNetworkThatTheEngineLostComesBack(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "10.0.1.0/24"))
	h1.replica("lan1")
	id := h2.replica("lan1").ID
	h2.must(h2.engine.Engine.RemoveNetwork(t.Context(), id))
	h2.settle()
	if n, ok := h2.d.Memory.Network(id); !ok || n.Stage != journal.StageReplica {
		t.Errorf("network %+v %v, want it waited for: Docker hides one while it deletes it", n, ok)
	}
	c.pass(lost)
	n := h2.replica("lan1")
	if n.ID == id {
		t.Error("the network is still the lost one")
	}
	c.eventually("the lost one is forgotten", func() bool { _, known := h2.d.Memory.Network(id); return !known })
	if joined := h2.addresses.Joined(); !slices.Equal(joined, []string{n.ID}) {
		t.Errorf("pools are open of networks %v, want %s alone", joined, n.ID)
	}
	if def, _ := c.definition("lan1"); def.State != store.NetworkActive {
		t.Errorf("the definition is %s", def.State)
	}
}
