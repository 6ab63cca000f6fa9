package driver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/reconcile"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

func (h *machine) macOf(address string) net.HardwareAddr {
	return ipam.MAC(h.session.Cluster(), "default", netip.MustParseAddr(address))
}

// looker runs one host's reconcile rounds by hand; its own come too
// seldom to meet a test.
type looker struct {
	*machine
	s *host.Suspects
}

func (h *machine) reconciler() *looker {
	return &looker{machine: h, s: host.NewSuspects()}
}

// round is one round, some time after the one before.
func (r *looker) round(after time.Duration) {
	r.Helper()
	r.clock.advance(after)
	r.must(r.d.Reconcile(context.Background(), r.s))
}

// held wants an address to be leased, or free.
func (c *cluster) held(address string, want bool) {
	c.Helper()
	if l, held := c.lease(address); held != want {
		c.Errorf("address %s: held is %v (%+v), want %v", address, held, l, want)
	}
}

// TestPoolsOfANetworkNobodyKnows: an older agent that died between its two
// writes left them.
func TestPoolsOfANetworkNobodyKnows(t *testing.T) {
	h := newCluster(t).host("h1")
	id := h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	known := h.d.Memory.Pools(func(p journal.Pool) bool { return p.Network == id })
	half := known[0]
	half.ID, half.Parsed.Nonce, half.Network = "half", "half", "unknown"
	h.must(h.d.Memory.Put(half))
	h.reconciler().round(host.SecondLook)
	if joined := h.addresses.Joined(); !slices.Equal(joined, []string{id}) {
		t.Errorf("pools are open of networks %v, want %s alone", joined, id)
	}
}

// forgotten is a host with a container that its engine forgot without a word.
func forgotten(t testing.TB) (*looker, *container) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	web := h.run("web", "lan1", ip("10.0.1.50"))
	h.must(h.links.Move(web.joined.InterfaceName.SrcName, link.Current, ""))
	h.engine.StopContainer(web.id)
	return h.reconciler(), web
}

func TestForgottenEndpointIsFreedAfterTwoObservations(t *testing.T) {
	r, web := forgotten(t)
	r.round(0)
	r.held("10.0.1.50", true)
	r.round(host.SecondLook - time.Second)
	r.held("10.0.1.50", true)
	r.round(time.Second)
	r.held("10.0.1.50", false)
	if _, known := r.d.Memory.Endpoint(web.endpoint); known {
		t.Error("the endpoint is still known")
	}
	if got, want := r.d.Rounds(), (reconcile.Rounds{Done: 3, Endpoints: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if left := r.ours(); len(left) > 0 {
		t.Errorf("links %v are left", left)
	}
	if left := r.records(store.EndpointsSpan()); len(left) > 0 {
		t.Errorf("records %v are left", left)
	}
}

// TestDeadEndpointThatAnswersIsKept: a copy of a host finds all that the elder
// has dead, and can have its name while the elder is cut off from the store.
func TestDeadEndpointThatAnswersIsKept(t *testing.T) {
	for name, forget := range map[string]func(*machine, *container){
		"in the journal":    func(*machine, *container) {},
		"in the store only": func(h *machine, web *container) { h.must(h.d.Memory.Drop(journal.Endpoint{ID: web.endpoint})) },
	} {
		t.Run(name, func(t *testing.T) {
			r, web := forgotten(t)
			forget(r.machine, web)
			r.answering = []netip.Addr{netip.MustParseAddr("10.0.1.50")}
			r.round(0)
			for range 3 {
				r.clock.advance(host.SecondLook)
				r.wantErr(r.d.Reconcile(t.Context(), r.s), "10.0.1.50] answers on the LAN", "runs a copy of this one")
				r.held("10.0.1.50", true)
			}
			r.answering = nil
			r.round(host.SecondLook)
			r.held("10.0.1.50", false)
		})
	}
}

// TestDeadEndpointIsFreedWhereNobodyCanBeAsked: the parent is down, or gone.
func TestDeadEndpointIsFreedWhereNobodyCanBeAsked(t *testing.T) {
	r, _ := forgotten(t)
	r.deaf = errors.New("the interface is down")
	r.round(0)
	r.round(host.SecondLook)
	r.held("10.0.1.50", false)
}

// TestDeadEndpointWhoseAddressIsAnothersIsClosed: that it answers is known.
func TestDeadEndpointWhoseAddressIsAnothersIsClosed(t *testing.T) {
	r, web := forgotten(t)
	addr := netip.MustParseAddr("10.0.1.50")
	r.answering = []netip.Addr{addr}
	other := store.Lease{State: store.Leased, Node: "h9", Nonce: "other", Endpoint: "other"}
	_, err := r.mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.LeaseKey("default", addr), store.Encode(other))}})
	r.must(err)
	r.eventually("the conflict is known", func() bool { return len(r.addresses.Conflicts()) == 1 })
	r.round(0)
	r.round(host.SecondLook)
	if _, known := r.d.Memory.Endpoint(web.endpoint); known {
		t.Error("the dead endpoint is still known")
	}
	if l, held := r.lease("10.0.1.50"); !held || l.Node != "h9" {
		t.Errorf("the lease is %+v, want the other's", l)
	}
}

func TestLivingEndpointIsNeverFreed(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	h.run("web", "lan1", ip("10.0.1.50"))
	r := h.reconciler()
	for range 4 {
		r.round(host.SecondLook)
	}
	r.held("10.0.1.50", true)
	if len(h.d.Memory.Endpoints()) != 1 {
		t.Error("the endpoint was forgotten")
	}
}

// TestNothingIsFreedWhileTheEngineIsAway, nor by two observations with an
// absence between them: a dockerd that starts lists less than it has.
func TestNothingIsFreedWhileTheEngineIsAway(t *testing.T) {
	r, _ := forgotten(t)
	r.round(0)
	before, _ := r.d.Seen.Absences()
	r.engine.Down()
	r.eventually("the agent hears that the engine is away", func() bool { now, _ := r.d.Seen.Absences(); return now > before })
	for range 3 {
		r.clock.advance(host.SecondLook)
		if err := r.d.Reconcile(context.Background(), r.s); !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("error %v, want that the engine is away", err)
		}
	}
	r.held("10.0.1.50", true)
	if got, want := r.d.Rounds(), (reconcile.Rounds{Done: 1, Unanswered: 3}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	r.engine.Up()
	r.round(host.SecondLook)
	r.held("10.0.1.50", true) // the first observation of the engine that came back
	r.round(host.SecondLook)
	r.held("10.0.1.50", false)
}

func TestAnEngineThatIsNotReadyProvesNothing(t *testing.T) {
	r, _ := forgotten(t)
	r.round(0)
	r.engine.Fail("Ready", engine.ErrUnavailable)
	r.clock.advance(host.SecondLook)
	if err := r.d.Reconcile(context.Background(), r.s); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("error %v, want that the engine is away", err)
	}
	r.held("10.0.1.50", true)
}

// TestAddressesOfAnEndpointThatOnlyTheAllocatorKnows: the agent died between
// the bind and its journal.
func TestAddressesOfAnEndpointThatOnlyTheAllocatorKnows(t *testing.T) {
	r, web := forgotten(t)
	r.must(r.d.Memory.Drop(journal.Endpoint{ID: web.endpoint}))
	r.round(0)
	r.held("10.0.1.50", true)
	r.round(host.SecondLook)
	r.held("10.0.1.50", false)
}

// TestRecordOfAnEndpointThatNothingKnows: a crash of an older agent left it.
func TestRecordOfAnEndpointThatNothingKnows(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	web := h.run("web", "lan1", ip("10.0.1.50"))
	left := store.EndpointKey(h.name, "left")
	_, err := h.mem.Commit(h.Context(), store.Txn{Then: []store.Op{
		store.Put(left, store.Encode(store.Endpoint{Endpoint: "left", Node: h.name, IPv4: "10.0.1.50/24"}))}})
	h.must(err)
	r := h.reconciler()
	r.round(0)
	r.round(host.SecondLook - time.Second)
	if _, err := h.mem.Get(h.Context(), left); err != nil {
		t.Fatalf("the record went after one look: %v", err)
	}
	r.round(time.Second)
	if _, err := h.mem.Get(h.Context(), left); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record is still there: %v", err)
	}
	if _, err := h.mem.Get(h.Context(), store.EndpointKey(h.name, web.endpoint)); err != nil {
		t.Errorf("the record of the container that runs: %v", err)
	}
}

func TestAddressThatNoEndpointConfirmedIsGivenUp(t *testing.T) {
	h := newCluster(t).host("h1")
	n := h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	_, err := h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": h.engine.pools(n)[0].id, "Address": "10.0.1.50"})
	h.must(err)
	r := h.reconciler()
	r.round(0)
	r.round(host.SecondLook - time.Second)
	h.held("10.0.1.50", true)
	r.round(time.Second)
	h.held("10.0.1.50", false)
	h.held("10.0.1.1", true) // the gateway is the definition's
}

func TestPoolThatNoNetworkCameOfIsGivenUp(t *testing.T) {
	h := newCluster(t).host("h1")
	h.openUnused()
	r := h.reconciler()
	r.round(0)
	h.held("10.0.9.1", true)
	r.round(host.SecondLook)
	h.nothingLeft()
}

// openUnused opens a pool with a gateway, and no more.
func (h *machine) openUnused() (id string) {
	h.Helper()
	got, err := h.call("IpamDriver.RequestPool", map[string]any{"AddressSpace": pool.LocalSpace, "Pool": "10.0.9.0/24"})
	h.must(err)
	_, err = h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": got.PoolID, "Options": map[string]string{"RequestAddressType": "com.docker.network.gateway"}})
	h.must(err)
	return got.PoolID
}

// TestPoolOfAnotherDriversNetworkIsKept: nobody ever joins it.
func TestPoolOfAnotherDriversNetworkIsKept(t *testing.T) {
	h := newCluster(t).host("h1")
	pool := h.openUnused()
	_, err := h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": pool, "Address": ""})
	h.must(err)
	bridge := lan("br", "10.0.9.0/24", func(r *engine.NetworkRequest) { r.Driver = "bridge" })
	bridge.IPAM.Pools[0].Gateway = netip.MustParseAddr("10.0.9.1")
	_, err = h.engine.CreateNetwork(t.Context(), bridge)
	h.must(err)
	_, err = h.engine.RunContainer(t.Context(), enginetest.ContainerSpec{Name: "web", Network: "br"})
	h.must(err)
	r := h.reconciler()
	for range 3 {
		r.round(host.SecondLook)
	}
	h.held("10.0.9.1", true)
	h.held("10.0.9.2", true)
}

// TestAddressOfADeadEndpointIsGivenAgain: an endpoint that is provably dead is
// closed at once when its address is asked for.
func TestAddressOfADeadEndpointIsGivenAgain(t *testing.T) {
	r, web := forgotten(t)
	_, err := r.tryRun("early", "lan1", ip("10.0.1.50"))
	r.wantErr(err, "10.0.1.50 is in use")
	r.clock.advance(endpoint.DeadAfter)
	next := r.run("next", "lan1", ip("10.0.1.50"))
	if l, _ := r.lease("10.0.1.50"); l.Endpoint != next.endpoint {
		t.Errorf("the lease is %+v, want the new container's", l)
	}
	if _, known := r.d.Memory.Endpoint(web.endpoint); known {
		t.Error("the dead endpoint is still known")
	}
}

func TestSweepTakesTheLinksThatACrashLeft(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24", with("parent", "eth1.20")))
	h.replica("lan1")
	_, err := h.links.EnsureVLANs(t.Context(), "eth1", []int{30}, "nobody")
	h.must(err)
	_, err = h.links.Ensure(t.Context(), link.Spec{Name: link.EndpointName("dead"), Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth1", Owner: "dead"})
	h.must(err)
	h.reconciler().round(0)
	if got := h.ours(); !slices.Equal(got, []string{"eth1.20"}) {
		t.Errorf("links %v, want eth1.20 only", got)
	}
}

// TestManagedPluginOfTheNameIsReported: it hides this agent from Docker, also
// disabled.
func TestManagedPluginOfTheNameIsReported(t *testing.T) {
	r := newCluster(t).host("h1").reconciler()
	r.engine.SetManagedPlugins("other:latest", "gvlan-swarm:latest")
	r.round(0)
	if w := r.d.Warnings(); len(w) > 0 {
		t.Errorf("warnings: got %q, want none", w)
	}
	r.engine.SetManagedPlugins("other:latest", "gvlan:latest")
	r.round(0)
	if w := r.d.Warnings(); len(w) != 1 || !strings.Contains(w[0], "a managed plugin is called gvlan:latest") {
		t.Errorf("warnings: got %q, want the plugin named", w)
	}
}
