package driver

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/network"
	"gvlan/driver/plan"
)

// What comes between two steps of ours, and while the store is away.

// TestRemovalWhileItIsBound: Docker deletes a network between the look that
// found it to be bound and the binding.
func TestRemovalWhileItIsBound(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	n := h.replica("lan1")
	def, _ := c.definition("lan1")
	s := plan.Step{Network: n, Definition: store.Row[store.Network]{Key: store.NetworkKey("lan1"), Record: def}}
	h.rm("lan1")
	h.must(h.d.BindTo(s, journal.StageCommitted, h.d.Milliseconds()))
	c.pass(quiet)
	h.lacks("lan1")
	c.eventually("the definition goes", func() bool { _, ok := c.definition("lan1"); return !ok })
	c.nothingLeft()
}

// TestReplicaNobodyBound: h2 is cut off between making a replica and binding
// it, and its definition is removed meanwhile.
func TestReplicaNobodyBound(t *testing.T) {
	c, h1, h2 := pair(t)
	made := make(chan struct{})
	h2.engine.mu.Lock()
	h2.engine.after = func() { h2.wire.Down(); close(made) }
	h2.engine.mu.Unlock()
	h1.create(lan("lan1", "192.168.1.0/24"))
	<-made
	_, err := c.mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.LiveKey("h2"))}})
	c.must(err)
	h1.replica("lan1")
	h1.rm("lan1")
	c.pass(quiet)
	h1.lacks("lan1")
	h2.wire.Up()
	c.eventually("h2 is back", h2.trusted)
	c.pass(time.Minute)
	h2.lacks("lan1")
	h1.settle()
	h1.lacks("lan1")
	if d, ok := c.definition("lan1"); ok {
		t.Errorf("what was removed is defined: %+v", d)
	}
}

// imported is a host whose container web, on a macvlan network of Docker's
// own, has 192.168.1.2 in an import.
func imported(c *cluster, name string) *machine {
	h := c.host(name)
	old := lan("lan1", "192.168.1.0/24", func(r *engine.NetworkRequest) {
		r.Driver, r.IPAM.Driver = "macvlan", "default"
		r.IPAM.Pools[0].Gateway = netip.MustParseAddr("192.168.1.254")
	})
	_, err := h.engine.CreateNetwork(c.Context(), old)
	h.must(err)
	_, err = h.engine.RunContainer(c.Context(), enginetest.ContainerSpec{Name: "web", Network: "lan1", Settings: engine.EndpointSettings{IPv4: netip.MustParseAddr("192.168.1.2")}})
	h.must(err)
	_, err = h.d.Import(c.Context(), "lan1")
	h.must(err)
	h.settle()
	return h
}

// TestImportWhileTheStoreIsAway: an agent that does not know the definitions
// yet gives up no address that an import holds.
func TestImportWhileTheStoreIsAway(t *testing.T) {
	c := newCluster(t)
	h1, h2 := imported(c, "h1"), c.host("h2")
	h2.replica("lan1")
	h1.stop()
	h1.wire.Down()
	h1.launch()
	r := h1.reconciler()
	for range 3 {
		r.round(host.SecondLook)
	}
	h1.wire.Up()
	c.eventually("h1 is back", h1.trusted)
	r.round(host.SecondLook)
	if pending := h1.addresses.Pending(); pending > 0 {
		t.Errorf("%d releases wait for the store, want none", pending)
	}
	if ct, err := h2.tryRun("other", "lan1", ip("192.168.1.2")); err == nil {
		t.Errorf("h2 was given %s, which web on h1 has", ct.address())
	}
}

// TestContainerThatIsRestartedAllTheTime: it has no endpoint, and keeps nothing
// from being given up.
func TestContainerThatIsRestartedAllTheTime(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	n, err := h.engine.Network(t.Context(), "lan1")
	h.must(err)
	_, err = h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": h.engine.pools(n.ID)[0].id, "Address": "10.0.1.9"})
	h.must(err)
	h.held("10.0.1.9", true)
	h.engine.mu.Lock()
	h.engine.others = []engine.Container{{ID: "x", Name: "loop", State: engine.StateRestarting, Attachments: []engine.Attachment{{Network: "bridge", NetworkID: "b"}}}}
	h.engine.mu.Unlock()
	r := h.reconciler()
	for range 3 {
		r.round(host.SecondLook)
	}
	h.held("10.0.1.9", false)
}

// TestPoolOfACreateThatFailed: the pool is given up although a network stands
// on its subnet.
func TestPoolOfACreateThatFailed(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	_, err := h.call("IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": "10.0.1.0/24"})
	h.must(err)
	pools := func() (n int) {
		held, err := h.addresses.Provisional(t.Context())
		h.must(err)
		return len(held)
	}
	if pools() != 1 {
		t.Fatalf("%d pools are provisional, want 1", pools())
	}
	r := h.reconciler()
	for range 3 {
		r.round(host.SecondLook)
	}
	if pools() != 0 {
		t.Error("the pool that nothing joined is kept")
	}
	h.run("web", "lan1") // the other is not touched
}

// TestRemovalOfManyAnswers: what etcd bounds is a transaction, not a cluster.
func TestRemovalOfManyAnswers(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	n := h1.replica("lan1")
	h2.replica("lan1")
	for i := range 200 { // of nodes that are away now
		node := fmt.Sprintf("n%d", i)
		_, err := c.mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.RemovalKey(n.UUID, node), store.Encode(store.Removal{Node: node, Gone: true}))}})
		c.must(err)
	}
	h2.rm("lan1")
	h2.settle()
	c.pass(quiet)
	h1.lacks("lan1")
	h2.lacks("lan1")
	c.eventually("the answers go", func() bool { return len(c.records(store.RemovalsSpan())) == 0 })
	c.nothingLeft()
}

// TestReservationsOfOneTransaction: as many as a network may have are defined
// and removed like any, and one more is refused.
func TestReservationsOfOneTransaction(t *testing.T) {
	c, h1, h2 := pair(t)
	many := func(count int) func(*engine.NetworkRequest) {
		return func(r *engine.NetworkRequest) {
			aux := map[string]netip.Addr{}
			for i := range count {
				aux[fmt.Sprintf("device%d", i)] = netip.AddrFrom4([4]byte{192, 168, 1, byte(i + 2)})
			}
			r.IPAM.Pools[0].Aux = aux
		}
	}
	_, err := h1.engine.CreateNetwork(t.Context(), lan("lan1", "192.168.1.0/24", many(network.MaxReserved)))
	h1.wantErr(err, "101 addresses by --gateway and --aux-address", "--ipam-opt exclude=")
	h1.create(lan("lan1", "192.168.1.0/24", many(network.MaxReserved-1)))
	h2.replica("lan1")
	h1.rm("lan1")
	h1.settle()
	c.pass(quiet)
	h1.lacks("lan1")
	h2.lacks("lan1")
	c.nothingLeft()
}

// TestTroubleEndsWithItsDefinition: nothing is tried again that is no more.
func TestTroubleEndsWithItsDefinition(t *testing.T) {
	c, h1, h2 := pair(t)
	_, err := h2.engine.CreateNetwork(t.Context(), lan("lan1", "172.30.0.0/24", func(r *engine.NetworkRequest) { r.Driver = "bridge" }))
	h2.must(err)
	h1.create(lan("lan1", "192.168.1.0/24"))
	c.eventually("h2 complains", h2.d.Troubles.Any)
	h1.replica("lan1")
	h1.rm("lan1")
	h1.settle()
	c.pass(quiet)
	h1.lacks("lan1")
	c.eventually("h2 has nothing to complain of", func() bool { h2.d.Poke(); return !h2.d.Troubles.Any() })
}

// TestRenamedContainersGo: a container that is no more is not asked about for
// ever.
func TestRenamedContainersGo(t *testing.T) {
	h := newCluster(t).host("h1")
	h.d.Names.Stale("gone")
	h.must(h.d.LearnNames(t.Context()))
	if left := h.d.Names.TakeStale(); len(left) > 0 {
		t.Errorf("%v are to be asked again", left)
	}
}
