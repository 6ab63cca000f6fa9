package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/pool"
)

// leased are the addresses that nodes have, not the reserved ones.
func (c *cluster) leased() (items []store.Item) {
	for _, it := range c.list(store.AllLeasesSpan()) {
		if rec, err := store.Decode[store.Lease](it); err != nil || rec.State != store.Reserved {
			items = append(items, it)
		}
	}
	return items
}

// own are the leases that the store says this node has.
func (h *host) own() []store.Item {
	return slices.DeleteFunc(h.c.leased(), func(it store.Item) bool { return !h.NamesThisNode(it) })
}

// waitBound waits until the host knows that an endpoint has an address.
func (h *host) waitBound(endpoint string) {
	h.c.Helper()
	h.waitFor("the endpoint has its address", func() bool { return len(h.Memory.LeasesOf(endpoint, journal.Bound)) > 0 })
}

// settled frees what no engine lists after a start, as the reconcile loop
// does.
func (h *host) settled() {
	h.c.Helper()
	h.waitFor("everything suspect is compared", func() bool {
		for endpoint := range h.Bound() {
			h.must(h.Free(h.ctx(), endpoint))
		}
		held, err := h.Provisional(h.ctx())
		h.must(err)
		for _, one := range held {
			if one.Kind == HeldAddress {
				h.must(h.FreeProvisional(h.ctx(), one))
			}
		}
		left, err := h.Leftovers(h.ctx())
		h.must(err)
		for _, endpoint := range left {
			h.must(h.DropLeftover(h.ctx(), endpoint))
		}
		return len(h.Memory.Leases(func(journal.Lease) bool { return true }))+len(h.own()) == 0
	})
}

// life is that of one container, in the steps that Docker calls.
func (ct *container) life() []func() {
	h := ct.n.h
	return []func(){
		func() {
			got, err := h.RequestAddress(h.ctx(), AddressRequest{PoolID: ct.n.ids[0]})
			h.must(err)
			ct.addrs = []netip.Prefix{got}
		},
		func() { h.must(ct.bind("web")) },
		func() { h.must(h.Unbind(h.ctx(), ct.endpoint)) },
		ct.release,
	}
}

// TestAPowerCut between any two steps of a container's life, of which any first
// ones may be on disk: what was released stays so, whoever has it by now, and
// everything else is found and freed, since nothing survives a power cut.
func TestAPowerCut(t *testing.T) {
	for _, taken := range []bool{false, true} {
		for cut := range 5 {
			for synced := range cut + 1 {
				t.Run(fmt.Sprintf("after %d of which %d are on disk, taken %v", cut, synced, taken), func(t *testing.T) {
					onEveryStore(t, func(c *cluster) { c.cutPower(cut, synced, taken) })
				})
			}
		}
	}
}

func (c *cluster) cutPower(cut, synced int, taken bool) {
	h1, h2 := c.host("h1"), c.host("h2")
	n := h1.mustCreate("10.0.0.0/24")
	there := h2.mustCreate("10.0.0.0/24")
	ct := &container{n: n, endpoint: h1.id("endpoint"), pools: n.ids}
	for i, step := range ct.life()[:cut] {
		if i == synced {
			h1.must(h1.journal.Write(nil))
		}
		step()
	}
	var other *container
	if taken && cut == len(ct.life()) {
		other = there.mustRun("theirs", ct.ip())
	}
	h1.stop()
	h1.journal.cut()
	h1.start()
	h1.ready()
	h1.waitFor("every address is compared", func() bool {
		return len(h1.Memory.Leases(func(l journal.Lease) bool { return l.Doubt })) == 0
	})
	if cut == len(ct.life()) {
		if own := h1.own(); len(own) != 0 {
			c.Errorf("the store holds %v, which was released", KeysOf(own))
		}
	}
	if len(h1.Conflicts()) != 0 {
		c.Errorf("conflicts %v with what was released", h1.Conflicts())
	}
	h1.settled()
	want := 0
	if other != nil {
		want = 1
		if _, rec := c.leaseAt(pool.DefaultSegment, other.ip()); rec.Endpoint != other.endpoint {
			c.Errorf("%s is %+v, want that of the container that runs on h2", other.ip(), rec)
		}
	}
	if items := c.leased(); len(items) != want {
		c.Errorf("the store holds %v, want %d", KeysOf(items), want)
	}
	if items := c.list(store.EndpointsSpan()); len(items) != want {
		c.Errorf("the store holds %v, want %d", KeysOf(items), want)
	}
}

// TestAnAgentKilled between any two steps of a container's life: it goes on as
// if nothing had been.
func TestAnAgentKilled(t *testing.T) {
	for kill := range 5 {
		t.Run(fmt.Sprintf("after %d", kill), func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24")
				living := n.mustRun("living", "10.0.0.9")
				ct := &container{n: n, endpoint: n.h.id("endpoint"), pools: n.ids}
				for i, step := range append(ct.life(), func() {}) {
					if i == kill {
						n.h.restart()
						n.h.ready()
					}
					step()
				}
				if items := c.leased(); len(items) != 1 || len(n.h.Memory.LeasesOf(living.endpoint, journal.Bound)) == 0 {
					c.Errorf("the store holds %v, want what lives", KeysOf(items))
				}
			})
		})
	}
}

// TestAFixedAddressAfterAPowerCut: what Docker deletes when it starts counts,
// though the journal lost that it was made.
func TestAFixedAddressAfterAPowerCut(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		first := n.mustRun("web", "10.0.0.9")
		n.h.stop()
		n.h.journal.cut()
		n.h.start()
		n.h.ready()
		n.h.waitBound(first.endpoint)
		first.stop()
		n.mustRun("web", "10.0.0.9")
	})
}
