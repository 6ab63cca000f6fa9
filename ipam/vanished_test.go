package ipam

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// wipe deletes every record of a span, as somebody with etcdctl does.
func (c *cluster) wipe(span store.Span) int {
	c.Helper()
	items := c.list(span)
	for _, it := range items {
		if _, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(it.Key)}}); err != nil {
			c.Fatal(err)
		}
	}
	return len(items)
}

// TestWhatVanishesIsWrittenAgain: leases, endpoint records, reservations and
// default subnets, of a network with a definition and of one without, whether
// the deletion is seen as it happens or in the list after an outage.
func TestWhatVanishesIsWrittenAgain(t *testing.T) {
	for _, away := range []bool{false, true} {
		onEveryStore(t, func(c *cluster) {
			h := c.host("h1")
			defined, err := h.create(flags{subnets: []string{""}})
			h.must(err)
			defined.define("lan1")
			local := h.mustCreateWith(flags{subnets: []string{"10.9.0.0/24"}, aux: map[string]string{"router": "10.9.0.5"}})
			web, db := defined.mustRun("web", ""), local.mustRunWith("db", "02:11:22:33:44:55", "10.9.0.7")
			other, err := h.RequestAddress(h.ctx(), AddressRequest{PoolID: local.ids[0]}) // given, and never bound
			h.must(err)
			h.ready()
			if away {
				h.down()
			}
			spans := []store.Span{store.AllLeasesSpan(), store.MACsSpan(), store.EndpointsSpan(), store.DefaultPoolsSpan()}
			had := map[store.Span][]string{}
			for _, span := range spans {
				had[span] = KeysOf(c.list(span))
				c.wipe(span)
			}
			if away {
				h.up()
			}
			for _, span := range spans {
				c.until("what vanished is back", span, func(items []store.Item) bool { return len(items) == len(had[span]) })
			}
			for _, ct := range []*container{web, db} {
				if _, rec := c.leaseAt("default", ct.ip()); rec.Endpoint != ct.endpoint {
					c.Errorf("lease of %s is %+v, want endpoint %s", ct.ip(), rec, ct.endpoint)
				}
				h.waitFor("the driver is told", func() bool {
					h.mu.Lock()
					defer h.mu.Unlock()
					return h.anew[ct.endpoint]
				})
			}
			far := c.host("h2").mustCreate("10.9.0.0/24")
			for _, ip := range []string{"10.9.0.1", "10.9.0.5", "10.9.0.7", other.Addr().String()} {
				if ct, err := far.run("", ip); err == nil {
					c.Errorf("%s was given again", ct.ip())
				}
			}
			db.stop()
			h.must(h.ReleaseAddress(h.ctx(), local.ids[0], other.Addr().String()))
			local.remove()
			c.until("a removed network reserves nothing", store.LeasesSpan("default", mustPrefix("10.9.0.0/24")), func(items []store.Item) bool {
				return len(items) == 1 // h2's gateway
			})
		})
	}
}

// TestAnAddressThatSomebodyTookIsToldAndSilenced: its record vanished, and
// another node was faster.
func TestAnAddressThatSomebodyTookIsToldAndSilenced(t *testing.T) {
	for _, away := range []bool{false, true} {
		onEveryStore(t, func(c *cluster) {
			n, far := c.host("h1").mustCreate("10.0.0.0/24"), c.host("h2").mustCreate("10.0.0.0/24")
			web := n.mustRun("web", "10.0.0.7")
			n.h.ready()
			winner, want := (*container)(nil), "in use by container winner on node h2"
			if away {
				n.h.down()
				c.wipe(store.LeasesSpan("default", mustPrefix("10.0.0.7/32")))
				winner = far.mustRun("winner", "10.0.0.7")
				n.h.up()
			} else {
				winner = &container{n: &lan{h: far.h}, endpoint: "winner"}
				rec := store.Lease{State: store.Leased, Node: "h9", Nonce: "9", Endpoint: "winner"}
				_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(pool.At("default", web.addrs[0].Addr()).Key(), store.Encode(rec))}})
				n.h.must(err)
				want = "in use by endpoint winner on node h9"
			}
			n.h.waitFor("the link is silenced", func() bool {
				n.h.mu.Lock()
				defer n.h.mu.Unlock()
				return n.h.silent[web.endpoint]
			})
			if got := n.h.Conflicts(); len(got) != 1 || got[0].Endpoint != web.endpoint || !strings.HasPrefix(got[0].Holder, want) {
				c.Errorf("conflicts %+v, want one of endpoint %s: %s", got, web.endpoint, want)
			}
			web.stop()
			if got := n.h.Conflicts(); len(got) != 0 {
				c.Errorf("conflicts %+v, want none: the container was stopped", got)
			}
			if _, rec := c.leaseAt("default", "10.0.0.7"); rec.Endpoint != winner.endpoint {
				c.Errorf("the lease is now %+v", rec)
			}
			if !away {
				c.wipe(store.LeasesSpan("default", mustPrefix("10.0.0.7/32"))) // no real lease: written by hand above
			}
		})
	}
}

// TestAReservationThatSomebodyTookIsTold: there is no link to silence.
func TestAReservationThatSomebodyTookIsTold(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n, far := c.host("h1").mustCreate("10.0.0.0/24"), c.host("h2").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.0.254"}})
		n.h.ready()
		n.h.down()
		c.wipe(store.LeasesSpan("default", mustPrefix("10.0.0.1/32")))
		taker := far.mustRun("taker", "10.0.0.1")
		n.h.up()
		n.h.waitFor("it is told", func() bool { return len(n.h.Conflicts()) == 1 })
		if got := n.h.Conflicts()[0]; got.Endpoint != "" || !strings.HasPrefix(got.Holder, "in use by container taker on node h2") {
			c.Errorf("conflict %+v", got)
		}
		taker.stop()
		c.until("the reservation is back", store.LeasesSpan("default", mustPrefix("10.0.0.1/32")), func(items []store.Item) bool { return len(items) == 1 })
	})
}

func (h *host) waitFor(what string, ok func() bool) {
	h.c.Helper()
	ctx, cancel := context.WithTimeout(h.c.Context(), time.Minute)
	defer cancel()
	for !ok() {
		h.Wake()
		if !store.Sleep(ctx, time.Millisecond) {
			h.c.Fatalf("never: %s", what)
		}
	}
}

// TestARemovedNetworkReservesNothingAgain: its definition is gone, with a
// tombstone, and this host has not removed it from its engine yet.
func TestARemovedNetworkReservesNothingAgain(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n, err := h.create(flags{subnets: []string{""}})
		h.must(err)
		n.define("lan1")
		h.ready()
		grave := store.Encode(store.Tombstone{Network: n.def})
		_, err = c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(store.TombstoneKey(n.def.UUID), grave)}})
		h.must(err)
		n.undefine()
		c.wipe(store.DefaultPoolsSpan())
		for _, p := range h.Memory.Pools(func(journal.Pool) bool { return true }) { // as every event and list has it
			h.must(h.restoreReservation(c.Context(), pool.At(p.Parsed.Segment, p.Gateway)))
			h.must(h.restoreDefault(c.Context(), p.ID))
		}
		for _, span := range []store.Span{store.AllLeasesSpan(), store.DefaultPoolsSpan()} {
			if items := c.list(span); len(items) != 0 {
				c.Errorf("the store holds %v", KeysOf(items))
			}
		}
		n.remove()
	})
}

// TestWhatCannotBeWrittenAgainIsToldOnce: it is tried at every round.
func TestWhatCannotBeWrittenAgainIsToldOnce(t *testing.T) {
	var said bytes.Buffer
	troubles := trouble.NewBook(time.Now, slog.New(slog.NewTextHandler(&said, nil)))
	var found node.Suspects[string]
	found.Add("e1")
	for _, err := range []error{store.ErrUnavailable, errors.New("refused"), errors.New("refused"), nil} {
		restoreEach(t.Context(), troubles, &found, func(context.Context, string) error { return err })
	}
	if lines := strings.Split(strings.TrimSpace(said.String()), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "err=refused") || !strings.Contains(lines[1], "works again") {
		t.Errorf("said %q, want that it is refused, and that it works again", lines)
	}
	if left := found.Drain(); len(left) > 0 {
		t.Errorf("%v is tried again", left)
	}
}
