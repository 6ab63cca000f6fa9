package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/command"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/network"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
)

// pair is two hosts of one cluster.
func pair(t testing.TB) (c *cluster, h1, h2 *machine) {
	c = newCluster(t)
	return c, c.host("h1"), c.host("h2")
}

func TestNetworkMadeOnOneHostIsOnTheOther(t *testing.T) {
	_, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24", func(r *engine.NetworkRequest) {
		r.IPv6, r.Attachable = true, true
		r.Labels = map[string]string{"team": "a"}
		r.Options["mtu"] = "1400"
		r.IPAM.Pools[0].Range = netip.MustParsePrefix("192.168.1.128/25")
		r.IPAM.Pools[0].Gateway = netip.MustParseAddr("192.168.1.254")
		r.IPAM.Pools[0].Aux = map[string]netip.Addr{"nas": netip.MustParseAddr("192.168.1.5")}
		r.IPAM.Pools = append(r.IPAM.Pools, engine.Pool{Subnet: netip.MustParsePrefix("fd00::/64")})
	}))
	made, copied := h1.replica("lan1"), h2.replica("lan1")
	if made.Stage != journal.StageCommitted || copied.Stage != journal.StageReplica {
		t.Errorf("stages %s and %s, want committed and replica", made.Stage, copied.Stage)
	}
	for _, differs := range []*journal.Network{&made, &copied} {
		differs.ID, differs.Stage, differs.Since = "", "", 0
		for i := range differs.Pools {
			differs.Pools[i].Asked = true // of a replica everything is
		}
	}
	if diff := cmp.Diff(made, copied, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("the replica differs (-made +copied):\n%s", diff)
	}
	e, err := h2.engine.Network(t.Context(), "lan1")
	h2.must(err)
	if !e.Attachable || e.Labels["team"] != "a" || e.Labels[plan.ReplicaLabel] != made.UUID || e.Options["mtu"] != "1400" {
		t.Errorf("the engine's replica is %+v", e)
	}
	h1.create(lan("lan2", "192.168.2.0/24", func(r *engine.NetworkRequest) { r.Internal = true }))
	h2.replica("lan2")
	if e, err := h2.engine.Network(t.Context(), "lan2"); err != nil || !e.Internal {
		t.Errorf("the replica of an internal network is %+v, %v", e, err)
	}
	a, b := h1.run("a", "lan1"), h2.run("b", "lan1")
	if a.address() != "192.168.1.128" || b.address() != "192.168.1.129" {
		t.Errorf("addresses %s and %s, want .128 and .129: one pool, its range", a.address(), b.address())
	}
}

// TestIdenticalNetworksOfOneNameMerge: both users were told that theirs is
// made, and both are right.
func TestIdenticalNetworksOfOneNameMerge(t *testing.T) {
	c, h1, h2 := pair(t)
	id := heldBack(h1, h2, lan("lan1", "192.168.1.0/24"), lan("lan1", "192.168.1.0/24"))
	c.eventually("h2's network stands for the definition", func() bool {
		n, ok := h2.d.Memory.Network(id)
		return ok && n.Stage == journal.StageReplica && n.UUID == h1.replica("lan1").UUID
	})
	c.pass(time.Minute)
	h2.settle()
	if n := h2.replica("lan1"); n.ID != id {
		t.Errorf("h2 has network %s now, want the one it made, %s", visible.ID(n.ID), visible.ID(id))
	}
	a, b := h1.run("a", "lan1"), h2.run("b", "lan1")
	if a.address() == b.address() {
		t.Errorf("both containers have %s", a.address())
	}
	if gateway, _ := c.lease("192.168.1.1"); len(gateway.By) != 1 {
		t.Errorf("the gateway is reserved for %v, want the definition alone", gateway.By)
	}
}

// heldBack makes two networks of one name, the second where the first is not
// seen: its host's agent does not run. It returns the second's id.
func heldBack(h1, h2 *machine, first, second engine.NetworkRequest) string {
	h2.Helper()
	unseen := make(chan struct{})
	h2.engine.hold(unseen)
	id := h2.create(second)
	h1.create(first)
	h1.replica(first.Name)
	close(unseen)
	return id
}

// warned reports whether a host's agent has a warning with these words.
func warned(h *machine, words string) bool {
	return slices.ContainsFunc(h.d.Warnings(), func(w string) bool { return strings.Contains(w, words) })
}

func TestClashOfNames(t *testing.T) {
	t.Run("the loser goes when nobody uses it", func(t *testing.T) {
		c, h1, h2 := pair(t)
		id := heldBack(h1, h2, lan("lan1", "192.168.1.0/24"), lan("lan1", "192.168.2.0/24"))
		h2.settle()
		if n, _ := h2.d.Memory.Network(id); n.Stage != journal.StageSeen || !strings.Contains(n.Why, "node h1 defined a different network of this name first") {
			t.Errorf("within its first 10 s the loser is %s because %q, want it untouched and the reason told", n.Stage, n.Why)
		}
		c.eventually("the winner says so too", func() bool { return warned(h1, "node h2 made a different network lan1") })
		c.pass(plan.ClashPatience)
		if n := h2.replica("lan1"); n.Stage != journal.StageReplica || n.Pools[0].Subnet.String() != "192.168.1.0/24" {
			t.Errorf("h2 has %+v, want the winner's replica", n)
		}
		c.eventually("the winner has nothing more to say", func() bool { return len(h1.d.Warnings()) == 0 })
	})
	t.Run("the command says that it lost", func(t *testing.T) {
		_, h1, h2 := pair(t)
		unseen := make(chan struct{})
		h2.engine.hold(unseen)
		lost := make(chan error, 1)
		go func() {
			_, err := h2.d.Define(t.Context(), lan("lan1", "192.168.2.0/24"))
			lost <- err
		}()
		h2.eventually("h2's engine has it", func() bool { _, err := h2.engine.Network(t.Context(), "lan1"); return err == nil })
		h1.create(lan("lan1", "192.168.1.0/24"))
		h1.replica("lan1")
		close(unseen)
		h2.wantErr(<-lost, "network lan1 was not made", "node h1 defined a different network of this name first")
	})
	t.Run("nothing starts on a loser that nothing ran on", func(t *testing.T) {
		c, h1, h2 := pair(t)
		id := heldBack(h1, h2, lan("lan1", "192.168.1.0/24"), lan("lan1", "192.168.2.0/24"))
		c.eventually("the clash is seen", func() bool { n, _ := h2.d.Memory.Network(id); return n.Why != "" })
		refused := func(name string) {
			t.Helper()
			_, err := h2.tryRun(name, "lan1")
			h2.wantErr(err, "network lan1 on node h2: node h1 defined a different network of this name first", "gvlan network inspect lan1")
		}
		refused("web")
		c.eventually("the conflict is seen", func() bool { n, _ := h2.d.Memory.Network(id); return n.Stage == journal.StageConflict })
		h2.stop()
		h2.start()
		refused("db")
		c.held("192.168.2.2", false)
		h1.rm("lan1")
		c.pass(quiet)
		c.eventually("it is the cluster's", func() bool { n, _ := h2.d.Memory.Network(id); return n.Stage == journal.StageCommitted })
		h2.run("late", "lan1")
	})
	t.Run("the loser stays while a container refers to it", func(t *testing.T) {
		c, h1, h2 := pair(t)
		unseen := make(chan struct{})
		h2.engine.hold(unseen)
		id := h2.create(lan("lan1", "192.168.2.0/24"))
		web := h2.run("web", "lan1")
		h1.create(lan("lan1", "192.168.1.0/24"))
		h1.replica("lan1")
		close(unseen)
		c.eventually("the conflict is seen", func() bool { n, _ := h2.d.Memory.Network(id); return n.Stage == journal.StageConflict })
		c.pass(time.Minute)
		h2.settle()
		n, _ := h2.d.Memory.Network(id)
		if !strings.Contains(n.Why, "node h1") || !strings.Contains(n.Why, "web") {
			t.Errorf("why %q, want the winner's node and the container", n.Why)
		}
		c.eventually("the winner says so too", func() bool { return warned(h1, "containers here refer to this one: web") })
		web.stop()
		h2.must(web.start()) // it ran before
		web.stop()
		web.remove()
		h2.settle()
		c.pass(plan.ClashPatience)
		if n := h2.replica("lan1"); n.ID == id {
			t.Error("the loser took the winner's place")
		}
	})
}

func TestRemovalReachesEveryHost(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24", with("parent", "eth1.20")))
	uuid := h1.replica("lan1").UUID
	h2.replica("lan1")
	h2.rm("lan1") // any host's
	h2.settle()
	if def, ok := c.definition("lan1"); !ok || def.State != store.NetworkActive {
		t.Errorf("within the quiet after a deletion the definition is %+v %v, want it active: a prune's event may come", def, ok)
	}
	c.pass(quiet)
	h1.lacks("lan1")
	h2.lacks("lan1")
	c.eventually("the tombstone goes, since both have settled it", func() bool {
		_, err := c.mem.Get(context.Background(), store.TombstoneKey(uuid))
		return errors.Is(err, store.ErrNotFound)
	})
	c.eventually("the answers go", func() bool { return len(c.records(store.RemovalsSpan())) == 0 })
	c.nothingLeft()
}

// TestAnotherNetworkAtOnce: what `docker compose down` and `up` with another
// subnet do. The rm is not settled yet when the next container starts.
func TestAnotherNetworkAtOnce(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	was := h1.replica("lan1").UUID
	h2.replica("lan1")
	for _, h := range []*machine{h1, h2} { // its maker, and another
		h.rm("lan1")
		id := h.create(lan("lan1", "192.168.2.0/24", with("mtu", map[*machine]string{h1: "1400", h2: "1300"}[h])))
		h.settle()
		if n, _ := h.d.Memory.Network(id); n.Why != "" {
			t.Errorf("the new network is out of step: %s", n.Why)
		}
		web := h.run("web", "lan1")
		if def, ok := c.definition("lan1"); !ok || def.UUID != was {
			t.Errorf("within the quiet after a deletion the definition is %+v %v, want the one before", def, ok)
		}
		c.pass(quiet)
		c.eventually("the new one is the cluster's", func() bool {
			def, ok := c.definition("lan1")
			return ok && def.UUID != was
		})
		was = h1.replica("lan1").UUID
		h2.replica("lan1")
		web.stop()
		web.remove()
		h.settle()
	}
}

// TestSameNetworkAtOnce: it was removed on several hosts, as by a script, and made
// again on one before any removal was settled. Who made it was told that it is
// there, so it is, on every host and for good.
func TestSameNetworkAtOnce(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	h2.replica("lan1")
	for range 2 { // and once more
		h1.rm("lan1")
		h2.rm("lan1")
		h1.create(lan("lan1", "192.168.1.0/24"))
		for range 3 {
			for _, h := range c.hosts {
				h.settle()
			}
			c.pass(quiet)
		}
		for _, h := range c.hosts {
			h.replica("lan1")
		}
	}
	web := h2.run("web", "lan1")
	web.stop()
	web.remove()
	h1.rm("lan1")
	h2.rm("lan1")
	c.pass(quiet)
	c.eventually("a removal that nothing follows removes it", func() bool { _, defined := c.definition("lan1"); return !defined })
}

// TestNamesThatLookLikePaths: Docker takes any text as a name. None of them is
// taken for another, on any host, and each can be removed.
func TestNamesThatLookLikePaths(t *testing.T) {
	c, h1, h2 := pair(t)
	names := []string{"lan", "prod/lan", "..", "/", "50%", "a%2Flan"}
	ids := map[string]string{}
	for i, name := range names {
		h1.create(lan(name, fmt.Sprintf("10.99.%d.0/24", i)))
		ids[name] = h1.replica(name).ID
	}
	for _, name := range names {
		h2.replica(name)
	}
	c.pass(time.Minute)
	for _, name := range names {
		if got := h1.replica(name).ID; got != ids[name] {
			t.Errorf("network %q was made again as %s, want %s left alone", name, got, ids[name])
		}
		if def, ok := c.definition(name); !ok || def.Name != name {
			t.Errorf("network %q is defined as %q, %v", name, def.Name, ok)
		}
	}
	for _, name := range names {
		h2.rm(name)
	}
	h2.settle()
	c.pass(quiet)
	for _, name := range names {
		h1.lacks(name)
		h2.lacks(name)
	}
	c.nothingLeft()
}

// TestRemovalWithAStoppedContainerElsewhere: the network comes back where it
// was removed, and its stopped containers there start again.
func TestRemovalWithAStoppedContainerElsewhere(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	old := h2.replica("lan1")
	far := h1.run("far", "lan1")
	far.stop()
	near := h2.run("near", "lan1", ip("192.168.1.50"))
	near.stop()
	c.eventually("both hosts' references are known", func() bool { return len(c.records(store.RefsSpan())) == 2 })
	h2.rm("lan1")
	c.pass(quiet)
	c.eventually("the network is back", func() bool {
		n, err := h2.engine.Network(context.Background(), "lan1")
		_, remembered := h2.d.Memory.Network(old.ID)
		return err == nil && n.ID != old.ID && !remembered
	})
	if n := h2.replica("lan1"); n.UUID != old.UUID {
		t.Errorf("it came back as %s, want %s", n.UUID, old.UUID)
	}
	h2.must(near.start())
	if near.address() != "192.168.1.50" {
		t.Errorf("near has %s, want the address it asks for", near.address())
	}
	h1.must(far.start())
}

func TestRemovalIsRevivedByAReferenceOfAHostThatIsAway(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h2.replica("lan1")
	ct := h2.run("web", "lan1")
	ct.stop()
	c.eventually("h2's reference is known", func() bool { return strings.Contains(h1.refs("h2"), "web") })
	h2.stop()
	c.hosts = c.hosts[:1]
	old := h1.replica("lan1")
	h1.rm("lan1")
	c.pass(quiet)
	c.eventually("the network is back", func() bool {
		_, remembered := h1.d.Memory.Network(old.ID)
		return !remembered && h1.replica("lan1").ID != old.ID
	})
}

// TestTombstoneWaitsForAHostThatIsAway: it is what tells that host that its
// network was removed, and not lost by the store.
func TestTombstoneWaitsForAHostThatIsAway(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	uuid := h1.replica("lan1").UUID
	h2.replica("lan1")
	c.eventually("both hosts are described", func() bool { return len(c.records(store.NodesSpan())) == 2 })
	h2.stop()
	h1.rm("lan1")
	c.pass(quiet)
	h1.lacks("lan1")
	c.eventually("the host that is here has settled it", func() bool {
		it, err := c.mem.Get(context.Background(), store.RemovalKey(uuid, "h1"))
		answer, decodeErr := store.Decode[store.Removal](it)
		return err == nil && decodeErr == nil && answer.Settled
	})
	for range 3 {
		h1.settle()
	}
	if _, err := c.mem.Get(context.Background(), store.TombstoneKey(uuid)); err != nil {
		t.Fatalf("the tombstone, with a host away: %v", err)
	}
	h2.start()
	h2.lacks("lan1")
	c.eventually("the tombstone goes, with the answers", func() bool {
		_, err := c.mem.Get(context.Background(), store.TombstoneKey(uuid))
		return errors.Is(err, store.ErrNotFound) && len(c.records(store.RemovalsSpan())) == 0
	})
	if _, ok := c.definition("lan1"); ok {
		t.Error("the network is defined again")
	}
	c.nothingLeft()
}

// refs is what a node refers to, as written.
func (c *cluster) refs(node string) string {
	it, err := c.mem.Get(context.Background(), store.RefsKey(node))
	if err != nil {
		return ""
	}
	return string(it.Value)
}

func TestPruneRemovesNothingFromTheCluster(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	old := h2.replica("lan1")
	web := h2.run("web", "lan1", ip("192.168.1.50"))
	web.stop()
	h2.settle()
	h2.prune()
	c.eventually("the network is back", func() bool {
		_, remembered := h2.d.Memory.Network(old.ID)
		return !remembered && h2.replica("lan1").ID != old.ID
	})
	c.pass(time.Minute)
	h2.settle()
	if n := h2.replica("lan1"); n.UUID != old.UUID || h1.replica("lan1").UUID != old.UUID {
		t.Errorf("the network is another one: %+v", n)
	}
	h2.must(web.start())
}

// TestVeto: a host whose container refers to the network by the time it is
// asked keeps it for all.
func TestVeto(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	old := h1.replica("lan1")
	h2.replica("lan1")
	blind := make(chan struct{})
	h2.engine.hold(blind) // h2 tells nobody of the container
	h2.engine.CreateContainer(enginetest.ContainerSpec{Name: "late", Network: "lan1"})
	h1.rm("lan1")
	c.pass(quiet)
	c.eventually("the removal began", func() bool { def, _ := c.definition("lan1"); return def.State == store.NetworkRemoving })
	close(blind)
	c.eventually("it was turned back", func() bool { def, _ := c.definition("lan1"); return def.State == store.NetworkActive })
	if n := h1.replica("lan1"); n.UUID != old.UUID || n.ID == old.ID {
		t.Errorf("h1 has %+v, want the network again", n)
	}
	h2.replica("lan1")
}

func TestNothingStartsOnANetworkBeingRemoved(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h2.replica("lan1")
	h1.replica("lan1")
	h2.engine.hold(make(chan struct{}))
	h1.rm("lan1")
	c.pass(quiet)
	c.eventually("the removal began", func() bool { def, _ := c.definition("lan1"); return def.State == store.NetworkRemoving })
	_, err := h2.tryRun("late", "lan1", ip("192.168.1.50"))
	h2.wantErr(err, "lan1", "being removed")
	if _, held := c.lease("192.168.1.50"); held {
		t.Error("the refused container's address is still leased")
	}
	h2.engine.hold(nil)
}

// TestEmptiedStoreRemovesNothing: no tombstone, no removal, however long ago
// and whether containers use a network or not.
func TestEmptiedStoreRemovesNothing(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	ids := map[*machine]string{h1: h1.replica("lan1").ID, h2: h2.replica("lan1").ID}
	h1.run("web", "lan1")
	c.mem.Wipe()
	for _, h := range c.hosts {
		h.eventually(h.name+" suspects the store", func() bool { return errors.Is(h.session.Trusted(), store.ErrSuspect) })
	}
	c.pass(time.Hour)
	h1.eventually("the gate is opened", func() bool { return h1.session.OpenGate(context.Background()) == nil })
	for _, h := range c.hosts {
		h.eventually(h.name+" trusts the store", func() bool { return h.session.Accept(context.Background()) == nil && h.session.Trusted() == nil })
	}
	for range 2 { // the second hour begins when the definition is there again
		c.eventually("lan1 is defined again", func() bool { _, ok := c.definition("lan1"); return ok })
		for h, id := range ids {
			h.settle()
			if n := h.replica("lan1"); n.ID != id {
				t.Errorf("%s has network %s now, want %s as before", h.name, visible.ID(n.ID), visible.ID(id))
			}
		}
		c.pass(time.Hour)
	}
}

// TestHostThatStaysAfterAll: what was taken off a host that was to leave its cluster
// is made there again.
func TestHostThatStaysAfterAll(t *testing.T) {
	_, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h2.replica("lan1")
	h2.must(h2.d.Withdraw(t.Context(), "it leaves"))
	h2.lacks("lan1")
	h2.d.Resume()
	h2.replica("lan1")
}

func TestLostJournalTakesItsNetworksBack(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	id := h2.replica("lan1").ID
	web := h2.run("web", "lan1")
	h2.stop()
	h2.must(os.Remove(filepath.Join(h2.dir, "journal.db")))
	h2.start()
	c.eventually("the network is adopted", func() bool { n, ok := h2.d.Memory.Network(id); return ok && n.Stage == journal.StageReplica })
	h2.run("other", "lan1")
	if other, _ := c.lease(web.address()); other.Endpoint != web.endpoint {
		t.Errorf("the running container's lease is %+v", other)
	}
}

func TestOverridesReachEveryHostWithoutMakingTheNetworkAgain(t *testing.T) {
	c, h1, h2 := pair(t)
	for _, h := range c.hosts {
		h.links.Add(link.Interface{Name: "eth2", Up: true})
	}
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	id := h2.replica("lan1").ID
	web := h2.run("web", "lan1")
	h1.must(h1.d.Set(t.Context(), "lan1", []string{"parent=eth2", "exclude=192.168.1.3-192.168.1.9", "cooldown=1m"}))
	c.eventually("h2 has the overrides", func() bool { n, _ := h2.d.Memory.Network(id); return n.Overrides.Parent != nil })
	if n, _ := h2.d.Memory.Network(id); n.Overrides.Cooldown != "1m0s" {
		t.Errorf("h2 has a cooldown of %q, want 1m0s", n.Overrides.Cooldown)
	}
	next := h2.run("next", "lan1")
	e, _ := h2.d.Memory.Endpoint(next.endpoint)
	if e.Parent != "eth2" || next.address() != "192.168.1.10" {
		t.Errorf("a new container has %s on %s, want 192.168.1.10 on eth2", next.address(), e.Parent)
	}
	if e, _ := h2.d.Memory.Endpoint(web.endpoint); e.Parent != "eth1" {
		t.Errorf("the running container moved to %s", e.Parent)
	}
	for change, says := range map[string]string{"subnet=10.0.0.0/8": option.ErrFixed.Error(), "parnt=eth1": "did you mean parent", "range+=10.0.0.0/24": "no subnet", "exclude=x": "x", "parent": "KEY=VALUE", "cooldown=soon": "at most 1h", "cooldown+=1s": "cooldown=TIME"} {
		h1.wantErr(h1.d.Set(t.Context(), "lan1", []string{change}), says, "lan1")
	}
}

// TestRemoveRightAfterItsLastContainer: a script removes a container and then its
// network, on another host, which has not heard of the first yet.
func TestRemoveRightAfterItsLastContainer(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h2.replica("lan1")
	web := h2.run("web", "lan1")
	c.eventually("h2's reference is known", func() bool { return strings.Contains(c.refs("h2"), "web") })
	web.stop()
	web.remove()
	h1.must(h1.d.Remove(t.Context(), "lan1", false))
	h1.lacks("lan1")
	h2.lacks("lan1")
}

func TestRemoveCommand(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	h2.replica("lan1")
	web := h2.run("web", "lan1")
	c.eventually("h2's reference is known", func() bool { return strings.Contains(c.refs("h2"), "web") })
	err := h1.d.Remove(t.Context(), "lan1", false)
	if !errors.Is(err, network.ErrInUse) {
		t.Errorf("error %v, want ErrInUse", err)
	}
	h1.wantErr(err, "web on h2")
	h1.wantErr(h1.d.Remove(t.Context(), "nosuch", false), host.ErrNoNetwork.Error())
	web.stop() // the fake engine's disconnect tells no plugin
	h1.must(h1.d.Remove(t.Context(), "lan1", true))
	h1.lacks("lan1")
	h2.lacks("lan1")
	c.eventually("the definition is gone", func() bool { _, ok := c.definition("lan1"); return !ok })
	c.nothingLeft()
}

func TestDefine(t *testing.T) {
	_, h1, h2 := pair(t)
	made, err := h1.d.Define(t.Context(), lan("lan1", "192.168.1.0/24"))
	h1.must(err)
	if n := h2.replica("lan1"); n.UUID != made.UUID {
		t.Errorf("h2 has %s, want %s", n.UUID, made.UUID)
	}
	_, err = h2.d.Define(t.Context(), lan("lan1", "192.168.2.0/24"))
	h2.wantErr(err, "defined already")
}

// TestDefineOnOneHost: what was asked for on one host is there alone, and that
// is no failure.
func TestDefineOnOneHost(t *testing.T) {
	c, h1, h2 := pair(t)
	made, err := h1.d.Define(t.Context(), lan("own", "192.168.1.0/24", func(r *engine.NetworkRequest) { r.Options["scope"] = "local" }))
	h1.must(err)
	if _, defined := c.definition("own"); defined || !made.Local || made.UUID == "" {
		t.Errorf("made is %+v, defined for all hosts: %v", made, defined)
	}
	h2.lacks("own")
}

// TestImport: a built-in network gets a definition, and its containers'
// addresses are nobody else's.
func TestImport(t *testing.T) {
	c, h1, h2 := pair(t)
	old := lan("lan1", "192.168.1.0/24", func(r *engine.NetworkRequest) {
		r.Driver, r.IPAM.Driver = "macvlan", "default"
		r.IPAM.Pools[0].Gateway = netip.MustParseAddr("192.168.1.254")
	})
	_, err := h1.engine.CreateNetwork(t.Context(), old)
	h1.must(err)
	id, err := h1.engine.RunContainer(t.Context(), enginetest.ContainerSpec{Name: "web", Network: "lan1", Settings: engine.EndpointSettings{IPv4: netip.MustParseAddr("192.168.1.2")}})
	h1.must(err)
	if names, err := h1.d.Importable(t.Context()); err != nil || !slices.Equal(names, []string{"lan1"}) {
		t.Errorf("what can be imported is %q (%v)", names, err)
	}
	got, err := h1.d.Import(t.Context(), "lan1")
	h1.must(err)
	if diff := cmp.Diff([]network.ImportedContainer{{Name: "web", IPv4: "192.168.1.2"}}, got.Containers); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
	h2.replica("lan1")
	if ct := h2.run("other", "lan1"); ct.address() != "192.168.1.1" {
		t.Errorf("given %s, want 192.168.1.1", ct.address())
	}
	if ct := h2.run("third", "lan1"); ct.address() != "192.168.1.3" {
		t.Errorf("given %s, want 192.168.1.3: .2 is held for the imported container", ct.address())
	}
	_, err = h1.d.Import(t.Context(), "lan1")
	h1.wantErr(err, "called lan1 already")
	// As the printed steps say.
	h1.must(h1.engine.Disconnect(t.Context(), "lan1", id, true))
	n, err := h1.engine.Network(t.Context(), "lan1")
	h1.must(err)
	h1.must(h1.engine.Engine.RemoveNetwork(t.Context(), n.ID))
	c.pass(time.Minute)
	h1.replica("lan1")
	web := h1.run("web2", "lan1", ip("192.168.1.2"))
	if l, _ := c.lease("192.168.1.2"); l.Endpoint != web.endpoint {
		t.Errorf("the address moved to %+v", l)
	}
	for name, says := range map[string]string{"nosuch": "no network nosuch", "lan1": "gvlan's already"} {
		_, err := h1.d.Import(t.Context(), name)
		h1.wantErr(err, says)
	}
}

// TestImportOfANetworkThatGoes: what an import held does not outlive its
// definition.
func TestImportOfANetworkThatGoes(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	old, err := h.engine.CreateNetwork(t.Context(), lan("lan1", "192.168.1.0/24", func(r *engine.NetworkRequest) {
		r.Driver, r.IPAM.Driver = "macvlan", "default"
		r.IPAM.Pools[0].Gateway = netip.MustParseAddr("192.168.1.254")
	}))
	h.must(err)
	_, err = h.d.Import(t.Context(), "lan1")
	h.must(err)
	h.must(h.engine.Engine.RemoveNetwork(t.Context(), old))
	c.pass(time.Minute)
	h.replica("lan1")
	h.rm("lan1")
	c.pass(quiet)
	h.lacks("lan1")
	h.eventually("the definition is gone", func() bool {
		defined, known := h.d.DefinitionNames()
		_, buried := h.d.Tables.Tombstones.Rows()
		return known && buried && !defined["lan1"]
	})
	if left := h.addresses.Joined(); len(left) == 0 {
		t.Error("the import left nothing: this test is of no use")
	}
	r := h.reconciler()
	for range 3 {
		r.round(host.SecondLook)
	}
	if left := h.addresses.Joined(); len(left) > 0 {
		t.Errorf("pools of %v are joined still", left)
	}
	h.nothingLeft()
}

func TestForeignNetworkOfThatNameIsReported(t *testing.T) {
	c, h1, h2 := pair(t)
	_, err := h2.engine.CreateNetwork(t.Context(), lan("lan1", "172.30.0.0/24", func(r *engine.NetworkRequest) { r.Driver = "bridge" }))
	h2.must(err)
	h1.create(lan("lan1", "192.168.1.0/24"))
	c.eventually("h2 says so", func() bool {
		return slices.ContainsFunc(h2.d.Report(), func(r command.NetworkReport) bool {
			return r.Name == "lan1" && strings.Contains(r.Why, "driver bridge has that name")
		})
	})
	n, err := h2.engine.Network(t.Context(), "lan1")
	h2.must(err)
	h2.must(h2.engine.Engine.RemoveNetwork(t.Context(), n.ID))
	c.pass(time.Minute)
	h2.replica("lan1")
}

// TestProgress counts what a host makes, has made and cannot make. What only a
// swarm has, and what is being removed, is not to be made.
func TestProgress(t *testing.T) {
	c, h1, h2 := pair(t)
	reached, held := make(chan struct{}), make(chan struct{})
	proceed := sync.OnceFunc(func() { close(held) })
	defer proceed()
	h2.engine.setBefore(func(r engine.NetworkRequest) error {
		switch r.Name {
		case "lan1":
			return errors.New("address pool overlaps")
		case "lan2":
			close(reached)
			<-held
		}
		return nil
	})
	for i, name := range []string{"lan0", "lan1"} {
		h1.create(lan(name, fmt.Sprintf("192.168.%d.0/24", i)))
		h1.replica(name)
	}
	h2.replica("lan0")
	h1.create(lan("lan2", "192.168.2.0/24"))
	h1.replica("lan2")
	<-reached
	want := command.Progress{Defined: 3, Made: 1, Failed: 1}
	c.eventually("h2 has one, makes one and cannot make one", func() bool { return h2.d.Progress() == want })
	proceed()
	want.Made++
	c.eventually("h2 has two", func() bool { return h2.d.Progress() == want })
	if got, all := h1.d.Progress(), (command.Progress{Defined: 3, Made: 3}); got != all {
		t.Errorf("h1, which made them all, counts %+v", got)
	}
}

// TestReplicasAreMadeTogether, but not two that have a subnet in common: each
// would get the other's pool.
func TestReplicasAreMadeTogether(t *testing.T) {
	_, h1, h2 := pair(t)
	h2.stop()
	for i, subnet := range []string{"192.168.1.0/24", "192.168.2.0/24", "192.168.2.0/24"} {
		name := fmt.Sprintf("lan%d", i)
		h1.create(lan(name, subnet))
		h1.replica(name)
	}
	var mu sync.Mutex
	making, most := map[string]int{}, map[string]int{} // by subnet, and of all
	both := make(chan struct{})
	met := sync.OnceFunc(func() { close(both) })
	late := time.AfterFunc(5*time.Second, met) // a test that fails ends
	defer late.Stop()
	h2.engine.setBefore(func(r engine.NetworkRequest) error {
		subnet := r.IPAM.Pools[0].Subnet.String()
		mu.Lock()
		for _, key := range []string{subnet, "all"} {
			making[key]++
			most[key] = max(most[key], making[key])
		}
		if making["all"] == 2 {
			met()
		}
		mu.Unlock()
		<-both
		mu.Lock()
		defer mu.Unlock()
		making[subnet]--
		making["all"]--
		return nil
	})
	h2.start()
	for _, name := range []string{"lan0", "lan1", "lan2"} {
		h2.replica(name)
	}
	mu.Lock()
	defer mu.Unlock()
	if most["all"] != 2 || most["192.168.2.0/24"] != 1 {
		t.Errorf("at once were made at most %v, want two in all and one of a subnet", most)
	}
}

// TestReplicaThatFailsIsTriedAgain: after its wait, and not before.
func TestReplicaThatFailsIsTriedAgain(t *testing.T) {
	c, h1, h2 := pair(t)
	var tries atomic.Int32
	h2.engine.setBefore(func(engine.NetworkRequest) error {
		if tries.Add(1) == 1 {
			return errors.New("address pool overlaps")
		}
		return nil
	})
	h1.create(lan("lan1", "192.168.1.0/24"))
	c.eventually("the failure is told", func() bool { return h2.d.Troubles.Any() })
	h2.settle()
	if n := tries.Load(); n != 1 {
		t.Errorf("tried %d times before the wait was over", n)
	}
	if _, err := h2.engine.Network(t.Context(), "lan1"); err == nil {
		t.Error("the network is there: nothing failed")
	}
	c.pass(2 * trouble.FirstRetry)
	h2.replica("lan1")
	c.eventually("the failure is no longer told", func() bool { return !h2.d.Troubles.Any() })
}

// TestAgentThatIsToldToEndAtOnce ends without an error, and begins nothing.
func TestAgentThatIsToldToEndAtOnce(t *testing.T) {
	h := newCluster(t).host("h1")
	h.stop()
	looks := h.engine.looks.Load()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.d.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if now := h.engine.looks.Load(); now != looks {
		t.Errorf("%d looks at the engine of an agent that ends", now-looks)
	}
}

// TestAgentEndsBetweenTheSteps: wherever it ends, the next one goes on.
func TestAgentEndsBetweenTheSteps(t *testing.T) {
	c, h1, h2 := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.restart() // seen or committed, as it came
	h1.replica("lan1")
	h2.restart()
	h2.replica("lan1")
	web := h2.run("web", "lan1")
	h2.restart()
	web.stop()
	web.remove()
	h2.settle()
	h1.rm("lan1")
	h1.restart() // gone, not settled: the event is lost with the agent
	c.pass(quiet)
	h2.restart()
	c.pass(quiet)
	h1.lacks("lan1")
	h2.lacks("lan1")
	for _, h := range c.hosts { // an agent that ended within a create left its pool
		r := h.reconciler()
		for range 3 {
			r.round(host.SecondLook)
		}
	}
	c.nothingLeft()
}

func TestManyNetworksAtOnceOnTwoHosts(t *testing.T) {
	c, h1, h2 := pair(t)
	const each = 8
	done := make(chan error, 2*each)
	for i := range each {
		for j, h := range []*machine{h1, h2} {
			go func() {
				_, err := h.engine.CreateNetwork(t.Context(), lan(fmt.Sprintf("lan%d-%d", j, i), fmt.Sprintf("10.%d.%d.0/24", j, i)))
				done <- err
			}()
		}
	}
	for range 2 * each {
		c.must(<-done)
	}
	for i := range each {
		for j := range 2 {
			name := fmt.Sprintf("lan%d-%d", j, i)
			if a, b := h1.replica(name), h2.replica(name); a.UUID != b.UUID {
				t.Errorf("%s is %s on h1 and %s on h2", name, a.UUID, b.UUID)
			}
		}
	}
}
