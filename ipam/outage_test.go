package ipam

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/journal"
	"gvlan/ipam/pool"
)

func TestNoNewAddressWhileTheStoreIsAway(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.down()
		for _, ip := range []string{"", "10.0.0.9"} {
			_, err := n.run("", ip)
			checkErr(c, err, "no new address can be given now")
			if !errors.Is(err, store.ErrUnavailable) {
				c.Errorf("error %v, want %v", err, store.ErrUnavailable)
			}
		}
		_, err := n.h.create(flags{subnets: []string{"10.1.0.0/24"}})
		if !errors.Is(err, store.ErrUnavailable) {
			c.Errorf("create: error %v, want %v", err, store.ErrUnavailable)
		}
		n.h.up()
		n.mustRun("", "10.0.0.9")
	})
}

func TestReleasesOfAnOutageAreWrittenAfterIt(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24", "fd00::/64")
		web := n.mustRun("web", "")
		n.h.down()
		web.stop()
		n.h.up()
		c.until("both addresses are free", store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 2 })
		c.until("the endpoint's record is gone", store.EndpointsSpan(), empty)
	})
}

func TestReleasesSurviveARestart(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "")
		n.h.down()
		web.stop()
		n.h.restart()
		n.h.up()
		c.until("the address is free", store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 1 })
	})
}

// TestAnAddressThisNodeReleasedIsGivenAgainWithoutTheStore:
// a rack comes back from a power cut before its etcd.
func TestAnAddressThisNodeReleasedIsGivenAgainWithoutTheStore(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		onEveryStore(t, func(c *cluster) {
			n := c.host("h1").mustCreate("10.0.0.0/24", "fd00::/64").define("lan1")
			other := n.h.mustCreate("10.0.0.0/24")
			web := n.mustRun("web", "")
			n.h.ready()
			before, _ := c.leaseAt("default", web.ip())

			n.h.down()
			web.stop()
			if restarted {
				n.h.restart()
			}
			if got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: other.ids[0]}); err == nil {
				c.Errorf("%s of another network was given again", got)
			}
			again := n.mustRun("web", "")
			if again.ip() != web.ip() {
				c.Errorf("given %s, want %s again", again.ip(), web.ip())
			}
			if _, err := n.run("db", ""); err == nil {
				c.Error("a second container was given an address: there was one to give again")
			}
			again.stop()
			again = n.mustRun("web", web.ip())
			n.h.up()
			c.until("the new endpoint is written", store.EndpointsSpan(), func(items []store.Item) bool {
				return len(items) == 1 && store.NameOf(items[0].Key) == again.endpoint
			})
			after, rec := c.leaseAt("default", web.ip())
			if rec.Endpoint != again.endpoint || after.Created != before.Created {
				c.Errorf("lease %+v created %d, want endpoint %s under the old token %d", rec, after.Created, again.endpoint, before.Created)
			}
		})
	}
}

// TestAnAddressWhoseReleaseMayHaveArrivedIsNotGivenAgain: the store may have
// given it to somebody else meanwhile, and here somebody else has it.
func TestAnAddressWhoseReleaseMayHaveArrivedIsNotGivenAgain(t *testing.T) {
	for _, s := range []struct {
		name string
		stop func(ct *container)
	}{
		{"no reply", func(ct *container) {
			h := ct.n.h
			h.must(h.Unbind(h.ctx(), ct.endpoint))
			ctx := h.mute(store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 1 })
			h.must(h.ReleaseAddress(ctx, ct.pools[0], ct.ip()))
			h.down()
			h.hear()
		}},
		{"no reply to a second ask", func(ct *container) {
			h := ct.n.h
			h.down()
			ct.stop()
			ctx := h.mute(store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 1 })
			h.wire.Up()
			if got, err := h.RequestAddress(ctx, AddressRequest{PoolID: ct.pools[0], Address: ct.ip()}); err == nil {
				h.c.Errorf("%s was given though its release was sent", got)
			}
			h.down()
			h.hear()
		}},
		{"no reply to an ask before the release", func(ct *container) {
			h := ct.n.h
			h.must(h.Unbind(h.ctx(), ct.endpoint))
			ctx := h.mute(store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 1 })
			if got, err := h.RequestAddress(ctx, AddressRequest{PoolID: ct.pools[0], Address: ct.ip()}); err == nil {
				h.c.Errorf("%s was given though its release was sent", got)
			}
			h.down()
			h.hear()
			held, err := h.Provisional(h.ctx())
			h.must(err)
			for _, one := range held { // the reconcile loop saw them dead twice
				h.must(h.FreeProvisional(h.ctx(), one))
			}
		}},
		{"agent killed while it caught up", func(ct *container) {
			h := ct.n.h
			h.down()
			ct.stop()
			ctx := h.mute(store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 1 })
			h.wire.Up()
			<-ctx.Done()
			h.stop()
			h.down()
			h.hear()
			h.start()
		}},
		{"agent killed", func(ct *container) {
			h := ct.n.h
			h.must(h.Unbind(h.ctx(), ct.endpoint))
			_, l := h.c.leaseAt("default", ct.ip())
			h.stop()
			h.c.evict("h1") // stands for the release that was on its way
			if l.Endpoint != ct.endpoint {
				h.c.Errorf("the lease was %+v, want it bound until its release", l)
			}
			h.down()
			h.start()
			ct.release()
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24")
				web := n.mustRun("web", "10.0.0.7")
				n.h.ready()
				// What is compared without a reply keeps all that comes after it.
				n.h.compares(netip.MustParseAddr("10.0.0.1"))
				s.stop(web)
				other := c.host("h2").mustCreate("10.0.0.0/24").mustRun("other", "10.0.0.7")
				for _, ip := range []string{"", "10.0.0.7"} {
					if ct, err := n.run("web", ip); err == nil {
						c.Errorf("%s was given again, and is in use by %s on h2", ct.ip(), other.endpoint)
					}
				}
				n.h.up()
				n.mustRun("web", "")
			})
		})
	}
}

// TestARestartSettlesTheDoubt: what a killed agent may have sent is known to
// have come to nothing once the store was asked under the next epoch.
func TestARestartSettlesTheDoubt(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "10.0.0.7")
		n.h.must(n.h.Unbind(c.Context(), web.endpoint))
		n.h.restart()
		at := pool.At("default", web.addrs[0].Addr())
		for l, _ := n.h.Memory.Lease(at); l.Doubt; l, _ = n.h.Memory.Lease(at) {
			n.h.Wake()
			if !store.Sleep(c.Context(), time.Millisecond) {
				c.Fatal("the doubt never ends")
			}
		}
		n.h.down()
		if _, err := n.run("", ""); err == nil { // which also shows the node that the store is away
			c.Error("a new address was given")
		}
		web.release()
		again := n.mustRun("web", "10.0.0.7")
		was, _ := n.h.Memory.Lease(at)
		was.State = journal.Releasing
		n.h.must(n.h.settleRelease(c.Context(), was)) // of before it was given again
		n.h.up()
		c.until("the new endpoint is written", store.EndpointsSpan(), func(items []store.Item) bool {
			return len(items) == 1 && store.NameOf(items[0].Key) == again.endpoint
		})
	})
}

// TestPostponedReleasesMakeRoom: Run has not come round to them yet.
func TestPostponedReleasesMakeRoom(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/30")
		web := n.mustRun("web", "")
		n.h.down()
		web.stop()
		n.h.stop()
		n.h.up()
		if _, err := n.run("db", ""); err != nil {
			c.Errorf("the only address was released: %v", err)
		}
	})
}

// TestDeadContainersMakeRoomWithoutTheStore: after a power cut nobody
// deleted the endpoints; the driver sees that they are dead.
func TestDeadContainersMakeRoomWithoutTheStore(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		web, db := n.mustRun("web", ""), n.mustRun("db", "")
		n.h.down()
		n.h.restart()
		n.h.kill(db)
		if again := n.mustRun("", ""); again.ip() != db.ip() {
			c.Errorf("given %s, want %s: web lives", again.ip(), db.ip())
		}
		n.h.kill(web)
		n.mustRun("web", web.ip())
		n.h.up()
		c.until("both new endpoints are written and the old gone", store.EndpointsSpan(), func(items []store.Item) bool {
			return len(items) == 2 && store.NameOf(items[0].Key) > db.endpoint && store.NameOf(items[1].Key) > db.endpoint
		})
	})
}

// TestAnAddressTakenFromACutOffNodeStaysTaken: while the node was away it
// was evicted and its address given to another.
func TestAnAddressTakenFromACutOffNodeStaysTaken(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n, other := c.host("h1").mustCreate("10.0.0.0/24"), c.host("h2").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "10.0.0.7")
		n.h.down()
		web.stop()
		again := n.mustRun("web", "10.0.0.7")
		c.evict("h1")
		winner := other.mustRun("winner", "10.0.0.7")
		n.h.stop() // its epoch is over; the next start has another
		n.h.cut = false
		n.h.wire.Up()
		n.h.start()
		n.h.ready()
		conflicts, err := n.h.Reassert(c.Context())
		n.h.must(err)
		if len(conflicts) != 1 || conflicts[0].Endpoint != again.endpoint || !strings.HasPrefix(conflicts[0].Holder, "in use by container winner on node h2") {
			c.Errorf("conflicts %+v, want that of endpoint %s with container winner", conflicts, again.endpoint)
		}
		if _, rec := c.leaseAt("default", "10.0.0.7"); rec.Endpoint != winner.endpoint {
			c.Errorf("the lease is now %+v", rec)
		}
		again.stop()
		if _, rec := c.leaseAt("default", "10.0.0.7"); rec.Endpoint != winner.endpoint {
			c.Errorf("the release of the loser took the lease: %+v", rec)
		}
	})
}

// evict does what freeing a dead node comes to.
func (c *cluster) evict(node string) {
	c.Helper()
	for _, span := range []store.Span{store.AllLeasesSpan(), store.NodeEndpointsSpan(node)} {
		for _, it := range c.list(span) {
			rec, err := store.Decode[store.Lease](it)
			if err != nil || rec.Node != node {
				continue
			}
			if _, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(it.Key)}}); err != nil {
				c.Fatal(err)
			}
		}
	}
}

func TestBindRefusesAnAddressThatWasGivenUp(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		got, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		n.h.stop()
		c.evict("h1")
		n.h.start()
		ct := &container{n: n, endpoint: "e", pools: n.ids, addrs: []netip.Prefix{got}}
		checkErr(c, ct.bind("web"), "address 10.0.0.2 was given up while the engine was away: start the container again")
		ct.release()

		held := n.mustRun("", "")
		ct.addrs = held.addrs
		checkErr(c, ct.bind("web"), "is in use by")
		ct.addrs = []netip.Prefix{mustPrefix("10.0.0.1/24")}
		checkErr(c, ct.bind("web"), "address 10.0.0.1 is the gateway of")
		other, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.h.mustCreate("10.0.0.0/24").ids[0]})
		n.h.must(err)
		ct.addrs = []netip.Prefix{other}
		checkErr(c, ct.bind("web"), "is being given to a container of another network")
		ct.addrs = []netip.Prefix{mustPrefix("10.0.9.1/24")}
		checkErr(c, ct.bind("web"), "lies in no subnet")
	})
}

func TestNothingStartsOnANetworkBeingRemoved(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.mustRun("before", "")
		for _, step := range []struct {
			change func(*store.Network)
			err    string
		}{
			{func(d *store.Network) { d.Overrides.Cooldown = "1s" }, ""},
			{func(d *store.Network) { d.State = store.NetworkRemoving }, "network lan1 is being removed from the cluster"},
			{func(d *store.Network) { d.State, d.UUID = store.NetworkActive, "another" }, "another one made under its name"},
			{func(d *store.Network) { d.UUID = n.def.UUID }, ""},
		} {
			def := n.def
			step.change(&def)
			_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(store.NetworkKey("lan1"), store.Encode(def))}})
			n.h.must(err)
			_, err = n.run("during", "")
			checkErr(c, err, step.err)
		}
	})
}

// TestWhatStartedUnansweredBeforeARemovalHasStarted: the removal sees it.
func TestWhatStartedUnansweredBeforeARemovalHasStarted(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.h.lossy.lose(binds, func() {
			def := n.def
			def.State = store.NetworkRemoving
			_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(store.NetworkKey("lan1"), store.Encode(def))}})
			if err != nil {
				c.Error(err)
			}
		})
		n.mustRun("before", "")
		_, err := n.run("after", "")
		checkErr(c, err, "is being removed from the cluster")
	})
}

// TestAnEndpointThatMayHaveStartedIsTakenAway: its start was not answered, and
// when it is asked for again this agent's epoch is over.
func TestAnEndpointThatMayHaveStartedIsTakenAway(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.lossy.lose(binds, func() { c.endEpoch("h1") })
		_, err := n.run("web", "")
		if !errors.Is(err, store.ErrFenced) {
			c.Fatalf("error %v, want %v", err, store.ErrFenced)
		}
		if items := c.list(store.EndpointsSpan()); len(items) != 1 {
			c.Fatalf("the store holds %v, want the endpoint", KeysOf(items))
		}
		n.h.restart()
		c.until("the endpoint's record is gone", store.EndpointsSpan(), empty)
	})
}

// endEpoch takes a node's epoch, as a newer agent of it does.
func (c *cluster) endEpoch(node string) {
	key := store.EpochKey(node)
	it, err := c.far.Get(c.Context(), key)
	if err != nil {
		c.Error(err)
		return
	}
	rec, err := store.Decode[store.Epoch](it)
	if err != nil {
		c.Error(err)
	}
	rec.Epoch++
	if _, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(key, store.Encode(rec))}}); err != nil {
		c.Error(err)
	}
}

// TestBindAndRemovalRace runs both at once: either the endpoint is there and
// the removal saw an active network before it, or it is not.
func TestBindAndRemovalRace(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		key := store.NetworkKey("lan1")
		removed := make(chan store.Revision)
		go func() {
			def := n.def
			def.State = store.NetworkRemoving
			res, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(key, store.Encode(def))}})
			if err != nil {
				c.Error(err)
			}
			removed <- res.Revision
		}()
		var bound []*container
		for {
			ct, err := n.run("", "")
			if err != nil {
				checkErr(c, err, "is being removed")
				break
			}
			bound = append(bound, ct)
			if len(bound) > 200 {
				c.Fatal("containers still start")
			}
		}
		at := <-removed
		for _, it := range c.list(store.EndpointsSpan()) {
			if it.Created > at {
				c.Errorf("endpoint %s was written at %d, after the removal began at %d", it.Key, it.Created, at)
			}
		}
	})
}

func TestAWipedStoreGetsTheLivingLeasesBack(t *testing.T) {
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "")
		mem.Wipe()
		for n.h.session.Trusted() == nil { // the session finds it by itself
			if !store.Sleep(c.Context(), 1e6) {
				c.Fatal("the session still trusts the store")
			}
		}
		_, err := n.run("db", "")
		checkErr(c, err, "gvlan recover")
		if !errors.Is(err, store.ErrSuspect) {
			c.Errorf("error %v, want %v", err, store.ErrSuspect)
		}
		for errors.Is(n.h.assertAll(), store.ErrUnavailable) {
			store.Sleep(c.Context(), 1e6) // it opens anew
		}
		n.h.must(n.h.session.OpenGate(c.Context()))
		n.h.must(n.h.session.Accept(c.Context()))
		if _, rec := c.leaseAt("default", web.ip()); rec.Endpoint != web.endpoint {
			c.Errorf("the lease is %+v, want it bound to %s", rec, web.endpoint)
		}
		if db := n.mustRun("db", ""); db.ip() == web.ip() {
			c.Errorf("%s was given twice", db.ip())
		}
	})
}

func (h *host) assertAll() error { return h.assertFor(time.Minute) }

// assertFor gives up after a while, as one does whose store does not answer.
func (h *host) assertFor(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(h.c.Context(), limit)
	defer cancel()
	conflicts, err := h.Reassert(ctx)
	if len(conflicts) > 0 {
		h.c.Errorf("conflicts %+v", conflicts)
	}
	return err
}

func TestALostJournalIsRebuiltFromTheStore(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, aux: map[string]string{"x": "10.0.0.9"}})
		web := n.mustRun("web", "")
		_, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0], Address: "10.0.0.77"})
		n.h.must(err)
		n.h.journal = newDisk()
		n.h.restart()
		n.h.ready()
		n.h.must(n.h.Attach(n.id, n.pools)) // the driver rebuilt the network from the engine
		given := n.h.waitHeld(func(h Held) bool { return h.Kind == HeldAddress })
		if given.Address.String() != "10.0.0.77" {
			c.Errorf("held %+v, want 10.0.0.77", given)
		}
		n.h.must(n.h.FreeProvisional(c.Context(), given))
		_, err = n.run("thief", web.ip())
		checkErr(c, err, "in use by container web")
		n.mustRun("db", "") // its PoolID is known from the request alone
		if got, _ := AddressingOf(n.h.Memory, n.id); len(got.Pools) != 1 || got.Pools[0].Gateway.String() != "10.0.0.1" {
			c.Errorf("pools %+v, want the one that waited", got)
		}
		web.stop()
	})
}
