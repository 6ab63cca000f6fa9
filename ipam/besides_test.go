package ipam

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/fixed"
	"gvlan/ipam/pool"
)

// besides is the fixed address of these tests.
var besides = pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.99"))

func (ct *container) wish() fixed.Wish {
	return fixed.Wish{Network: ct.n.id, Endpoint: ct.endpoint, At: besides}
}

// aside makes a network whose own addresses are not that one: hosts that met draw any.
func (h *host) aside() *lan {
	h.c.Helper()
	return h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, ranges: []string{"10.0.0.128/25"}})
}

// takes has the container take the fixed address.
func (ct *container) takes(want bool) {
	ct.n.h.c.Helper()
	has, err := ct.n.h.Fixed().Take(ct.n.h.ctx(), ct.wish())
	if err != nil || has != want {
		ct.n.h.c.Errorf("endpoint %s takes the address: %v, %v, want %v", ct.endpoint, has, err, want)
	}
}

// TestAFixedAddressHasOneHolder, and goes to the next one with its holder's end.
func TestAFixedAddressHasOneHolder(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n, far := c.host("h1").aside().define("lan"), c.host("h2").aside().define("lan")
		web, next := n.mustRun("web", ""), far.mustRun("next", "")
		web.takes(true)
		web.takes(true) // it has it
		next.takes(false)
		if _, err := far.run("thief", besides.Addr.String()); err == nil || !strings.Contains(err.Error(), "in use by container web on node h1") {
			c.Errorf("--ip of a fixed address: %v, want who has it", err)
		}
		if _, rec := c.leaseAt("default", besides.Addr.String()); rec.Kind != store.Service || rec.Endpoint != web.endpoint {
			c.Errorf("the lease is %+v, want web's and of a service", rec)
		}
		web.stop()
		next.takes(true)
		if _, rec := c.leaseAt("default", besides.Addr.String()); rec.Endpoint != next.endpoint {
			c.Errorf("the lease is %+v, want next's", rec)
		}
		next.stop()
		if it, rec := c.leaseAt("default", besides.Addr.String()); it.Created != 0 {
			c.Errorf("the lease is %+v, want none: its container is gone", rec)
		}
	})
}

// TestAFixedAddressWithoutAReply is nobody's: what may have been taken is given
// back, and the container and its name stay.
func TestAFixedAddressWithoutAReply(t *testing.T) {
	for _, lost := range []string{"request", "reply"} {
		onEveryStore(t, func(c *cluster) {
			n := c.host("h1").aside().define("lan")
			web := n.mustRun("web", "")
			n.h.ready()
			if lost == "reply" {
				n.h.wire.DropReplies(1 << 20)
			} else {
				n.h.wire.DropRequests(1 << 20)
			}
			ctx, cancel := context.WithTimeout(c.Context(), 100*time.Millisecond)
			has, err := n.h.Fixed().Take(ctx, web.wish())
			cancel()
			if has || !errors.Is(err, store.ErrUnavailable) {
				c.Errorf("takes the address: %v, %v, want no answer", has, err)
			}
			n.h.wire.DropReplies(0)
			n.h.wire.DropRequests(0)
			n.h.waitFor("nothing is owed", func() bool { _, owed := n.h.Memory.Lease(besides); return !owed })
			if it, rec := c.leaseAt("default", besides.Addr.String()); it.Created != 0 {
				c.Errorf("the lease is %+v, want none", rec)
			}
			if got := c.list(store.NodeEndpointsSpan("h1")); len(got) != 1 {
				c.Errorf("endpoint records %v, want web's", KeysOf(got))
			}
			web.takes(true)
			web.stop()
		})
	}
}

// TestAFixedAddressThatSomebodyTook is taken out of its container, which goes on.
func TestAFixedAddressThatSomebodyTook(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n, far := c.host("h1").aside().define("lan"), c.host("h2").aside().define("lan")
		web, next := n.mustRun("web", ""), far.mustRun("next", "")
		web.takes(true)
		n.h.ready()
		n.h.down()
		c.wipe(store.LeasesSpan("default", netip.PrefixFrom(besides.Addr, 32)))
		next.takes(true)
		n.h.up()
		n.h.waitFor("the address is taken out", func() bool {
			n.h.mu.Lock()
			defer n.h.mu.Unlock()
			return slices.Contains(n.h.withdrawn, web.endpoint+" "+besides.Addr.String())
		})
		n.h.waitFor("it is not the host's any more", func() bool { return !n.h.Fixed().Has(web.wish()) })
		n.h.mu.Lock()
		silenced := n.h.silent[web.endpoint]
		n.h.mu.Unlock()
		if silenced || len(n.h.Conflicts()) > 0 {
			c.Errorf("silenced %v, conflicts %+v: want the container to go on", silenced, n.h.Conflicts())
		}
		web.stop()
		if _, rec := c.leaseAt("default", besides.Addr.String()); rec.Endpoint != next.endpoint {
			c.Errorf("the lease is %+v, want next's", rec)
		}
		next.stop()
	})
}

// TestAFixedAddressIsFreedOfWhoIsAwayOnly, and only as it was seen.
func TestAFixedAddressIsFreedOfWhoIsAwayOnly(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n, far := c.host("h1").aside().define("lan"), c.host("h2").aside().define("lan")
		web, next := n.mustRun("web", ""), far.mustRun("next", "")
		web.takes(true)
		rec := store.Endpoint{}
		for _, it := range c.list(store.NodeEndpointsSpan("h1")) {
			rec, _ = store.Decode[store.Endpoint](it)
		}
		rec.Wants, rec.Fixed = []string{"10.0.0.99/24"}, []string{"10.0.0.99/24"}
		if done, err := n.h.Describe(c.Context(), rec); !done || err != nil {
			c.Fatal(done, err)
		}
		frees := func(it store.Item, want bool) {
			c.Helper()
			if freed, err := far.h.Fixed().Free(far.h.ctx(), besides, it); err != nil || freed != want {
				c.Errorf("frees the address: %v, %v, want %v", freed, err, want)
			}
		}
		it, _ := c.leaseAt("default", besides.Addr.String())
		frees(it, false) // h1 is connected
		n.h.stop()
		n.h.down()
		c.wipe(store.Span{From: store.LiveKey("h1"), To: store.LiveKey("h1") + "\x00"})
		older := it
		older.Modified--
		frees(older, false) // it was another record that was asked for
		frees(it, true)
		next.takes(true)
		for _, it := range c.list(store.NodeEndpointsSpan("h1")) {
			if rec, err := store.Decode[store.Endpoint](it); err != nil || len(rec.Fixed) > 0 || len(rec.Wants) != 1 {
				c.Errorf("the record of the former holder is %+v, %v: want it to have nothing", rec, err)
			}
		}
		n.h.up()
		n.h.start()
		n.h.waitFor("the former holder knows", func() bool { return !n.h.Fixed().Has(web.wish()) })
		next.stop()
		web.stop()
	})
}

// TestAFixedAddressAfterAnEviction is its container's again if that comes back in
// time.
func TestAFixedAddressAfterAnEviction(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").aside().define("lan")
		web := n.mustRun("web", "")
		web.takes(true)
		it, rec := c.leaseAt("default", besides.Addr.String())
		rec.State = store.Quarantined
		if _, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(it.Key, store.Encode(rec))}}); err != nil {
			c.Fatal(err)
		}
		if conflicts, err := n.h.Reassert(c.Context()); err != nil || len(conflicts) > 0 {
			c.Fatalf("on return: conflicts %v, error %v", conflicts, err)
		}
		if _, rec := c.leaseAt("default", besides.Addr.String()); rec.State != store.Leased || rec.Kind != store.Service {
			c.Errorf("the lease is %+v, want the container's again", rec)
		}
		if l, _ := n.h.Memory.Lease(besides); l.State != journal.Bound {
			c.Errorf("the host has %+v, want it bound", l)
		}
		web.stop()
	})
}

// TestWhatNoContainerCanHaveBesides is refused, whoever has it.
func TestWhatNoContainerCanHaveBesides(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.0.254"}, opts: map[string]string{"exclude": "10.0.0.40-10.0.0.49"}}).define("lan")
		h.KeepOut(map[netip.Addr]string{netip.MustParseAddr("10.0.0.3"): "h9"}, true)
		for addr, want := range map[string]string{
			"10.0.0.99":  "",
			"10.0.0.254": "the gateway of network lan",
			"10.0.0.45":  "excluded",
			"10.0.0.3":   "host h9's own",
			"10.0.0.255": "the broadcast address",
			"10.0.1.1":   "in no subnet of network lan",
			"fd00::1":    "in no subnet of network lan",
		} {
			p, err := h.CheckFixed(h.ctx(), n.id, netip.MustParseAddr(addr))
			switch {
			case want == "" && (err != nil || p.String() != addr+"/24"):
				c.Errorf("%s: %s, %v", addr, p, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				c.Errorf("%s: %v, want an error that says %q", addr, err, want)
			}
		}
	})
}
