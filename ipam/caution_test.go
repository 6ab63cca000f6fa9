package ipam

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/pool"
)

// rolledBack puts an older copy in the store's place, waits until every host
// knows, and has them write what they hold again.
func (c *cluster) rolledBack(restore func(), hosts ...*host) {
	c.Helper()
	restore()
	for _, h := range hosts {
		h.waitFor("the host distrusts the store", func() bool { return errors.Is(h.session.Trusted(), store.ErrSuspect) })
		for try := time.Second; errors.Is(h.assertFor(try), store.ErrUnavailable); try *= 2 {
			// It opens anew: what was decided before is in vain until its time is over.
		}
	}
}

// TestNoAddressTwiceAfterARollBack: three hosts, one of which finds the loss;
// those whose own writes are all there give nothing either, until the gate is
// opened, and then nobody's address.
func TestNoAddressTwiceAfterARollBack(t *testing.T) {
	for how, restore := range map[string]func(*storetest.Mem, storetest.Snapshot){"plain": (*storetest.Mem).Restore, "bumped": (*storetest.Mem).RestoreBumped} {
		t.Run(how, func(t *testing.T) {
			onMem(t, func(c *cluster, mem *storetest.Mem) {
				h1, h2 := c.host("h1"), c.host("h2")
				n1, n2 := h1.mustCreate("10.0.0.0/24"), h2.mustCreate("10.0.0.0/24")
				local := h2.mustCreateWith(flags{subnets: []string{"10.9.0.0/24"}, aux: map[string]string{"router": "10.9.0.5"}})
				early := mem.Snapshot()
				reserved := h2.mustCreate("10.8.0.0/24")
				taken := map[string]string{}
				for range 3 {
					web := n2.mustRun("web", "")
					taken[web.ip()] = web.endpoint
				}
				h1.ready()
				c.rolledBack(func() {
					restore(mem, early)
					_, err := h2.session.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put("/any", nil)}})
					if err == nil {
						c.Fatal("h2 wrote to a store that lost its last write")
					}
				}, h2, h1)
				for _, n := range []*lan{n1, n2} {
					_, err := n.run("", "")
					checkErr(c, err, "gvlan recover")
				}
				h1.must(h1.session.OpenGate(c.Context()))
				h2.waitFor("h2 knows that the gate is open", h2.session.Recovered)
				h2.must(h2.session.Accept(c.Context()))
				h1.waitFor("h1 trusts the store", func() bool {
					return h1.session.Trusted() == nil || h1.session.Recovered() && h1.session.Accept(c.Context()) == nil
				})
				for range 5 {
					if ct := n1.mustRun("", ""); taken[ct.ip()] != "" {
						c.Errorf("%s was given twice", ct.ip())
					}
				}
				for _, ip := range []string{"10.9.0.1", "10.9.0.5"} {
					if _, err := local.run("", ip); err == nil {
						c.Errorf("%s of a local network was given: it is reserved", ip)
					}
				}
				if ct := reserved.mustRun("", ""); ct.ip() != "10.8.0.2" {
					c.Errorf("given %s, want 10.8.0.2: the gateway was reserved after the copy was made", ct.ip())
				}
			})
		})
	}
}

// TestTheGateIsCompared: a host that has not heard yet of the gate gives
// nothing either.
func TestTheGateIsCompared(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		n.h.wire.LoseEvents(1 << 30)
		gate := store.Encode(store.Gate{Round: "r", Node: "h9", Why: "it is empty"})
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(store.GateKey(), gate)}})
		n.h.must(err)
		for _, ip := range []string{"", "10.0.0.9"} {
			_, err := n.run("", ip)
			checkErr(c, err, "node h9 found that it is empty")
		}
		_, err = n.h.create(flags{subnets: []string{""}})
		checkErr(c, err, "node h9 found that it is empty")
		_, err = c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(store.GateKey())}})
		n.h.must(err)
	})
}

// TestTheLANIsAskedAfterARecovery: what answers there is not given, though the
// store has it for free.
func TestTheLANIsAskedAfterARecovery(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/28")
		n.h.ready()
		n.mustRun("before", "")
		if n.h.asked != 0 {
			c.Errorf("the LAN was asked %d times, want none without a recovery", n.h.asked)
		}
		n.h.must(n.h.session.OpenGate(c.Context()))
		for last := byte(3); last < 13; last++ { // more than are asked for at once
			n.h.lan = append(n.h.lan, netip.AddrFrom4([4]byte{10, 0, 0, last}))
		}
		if ct := n.mustRun("", ""); ct.ip() != "10.0.0.13" {
			c.Errorf("given %s, want 10.0.0.13, the first that does not answer", ct.ip())
		}
		_, err := n.run("", "10.0.0.4")
		checkErr(c, err, "address 10.0.0.4 answers on the LAN")
		err = n.h.CheckUnused(c.Context(), n.id, pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.5")))
		checkErr(c, err, "address 10.0.0.5 answers on the LAN")
		held := n.mustRun("held", "10.0.0.14")
		n.h.lan = append(n.h.lan, held.addrs[0].Addr())
		_, err = c.host("h2").mustCreate("10.0.0.0/28").run("", held.ip())
		checkErr(c, err, "in use by container held on node h1")
		_, err = n.run("", "")
		checkErr(c, err, "is taken")
		ctx, cancel := context.WithCancel(c.Context())
		cancel()
		if _, err := n.h.RequestAddress(ctx, AddressRequest{PoolID: n.ids[0]}); !errors.Is(err, store.ErrUnavailable) {
			c.Errorf("a request that ended: %v", err)
		}
	})
}
