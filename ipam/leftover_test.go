package ipam

import (
	"net/netip"
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/pool"
)

// forget makes a host's journal what it was before do, as for an agent that
// is killed between its transaction and its journal entry.
func (h *host) forget(do func()) {
	before := h.journal.all()
	do()
	h.stop()
	h.journal.values, h.journal.kept = before, map[journal.Key][]byte{}
	h.start()
}

// TestABindingThatTheAgentDidNotLiveToNote: however the address is given up,
// no record of the endpoint stays to answer for it.
func TestABindingThatTheAgentDidNotLiveToNote(t *testing.T) {
	for name, giveUp := range map[string]func(ct *container){
		"Docker rolls back at once": func(ct *container) { ct.release() },
		"Docker rolls back": func(ct *container) {
			ct.n.h.ready()
			ct.release()
		},
		"nobody asks for it again": func(ct *container) {
			h := ct.n.h
			h.ready()
			h.must(h.FreeProvisional(h.ctx(), h.waitHeld(func(h Held) bool { return h.Kind == HeldAddress })))
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24")
				ct := &container{n: n, endpoint: n.h.id("endpoint"), pools: n.ids}
				got, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0]})
				n.h.must(err)
				ct.addrs = []netip.Prefix{got}
				n.h.forget(func() { n.h.must(ct.bind("web")) })
				if items := c.list(store.EndpointsSpan()); len(items) != 1 {
					c.Fatalf("the store holds %v, want the endpoint", KeysOf(items))
				}
				giveUp(ct)
				if items := append(c.list(store.EndpointsSpan()), c.leased()...); len(items) != 0 {
					c.Errorf("the store holds %v, want no endpoint and no lease", KeysOf(items))
				}
			})
		})
	}
}

// TestLeftovers: the container starts again at the address that its first
// start was given, and only the record of that first one is left over.
func TestLeftovers(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		first := &container{n: n, endpoint: n.h.id("endpoint"), mac: "02:00:00:00:00:09", pools: n.ids, addrs: []netip.Prefix{mustPrefix("10.0.0.9/24")}}
		_, err := n.h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0], Address: "10.0.0.9"})
		n.h.must(err)
		n.h.forget(func() { n.h.must(first.bind("web")) })
		n.h.ready()
		second := n.mustRun("web", "10.0.0.9")
		left, err := n.h.Leftovers(c.Context())
		n.h.must(err)
		if !slices.Equal(left, []string{first.endpoint}) {
			c.Fatalf("left over are %v, want %s", left, first.endpoint)
		}
		for _, id := range []string{first.endpoint, second.endpoint} {
			n.h.must(n.h.DropLeftover(c.Context(), id))
		}
		left, err = n.h.Leftovers(c.Context())
		n.h.must(err)
		if items := c.list(store.EndpointsSpan()); len(items) != 1 || store.NameOf(items[0].Key) != second.endpoint || len(left) > 0 {
			c.Errorf("the store holds %v with %v left over, want the endpoint that runs", KeysOf(items), left)
		}
		if left := c.macs(); len(left) != 0 {
			c.Errorf("the store holds %v of a container that is gone", left)
		}
	})
}

// TestALostJournalKeepsTheOptions: what --ipam-opt said stands in the
// definition.
func TestALostJournalKeepsTheOptions(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		opts := map[string]string{"exclude": "10.0.0.2-10.0.0.9,10.0.0.12-10.0.0.254", "order": "random"}
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: opts}).define("lan1")
		n.h.journal = newDisk()
		n.h.restart()
		n.h.ready()
		n.h.must(n.h.Attach(n.id, n.pools))
		n.h.must(n.h.Adopt(n.id, n.def, 0))
		for range 2 {
			if ct := n.mustRun("", ""); ct.ip() != "10.0.0.10" && ct.ip() != "10.0.0.11" {
				c.Errorf("%s was given, which is excluded", ct.ip())
			}
		}
		_, err := n.run("", "10.0.0.5")
		checkErr(c, err, "is excluded")
		p, err := n.h.poolFor(n.ids[0])
		n.h.must(err)
		views, err := n.h.views(p)
		n.h.must(err)
		if len(views) != 1 || views[0].order != pool.Random {
			c.Errorf("views %+v, want one in random order", views)
		}
	})
}

// TestAStrangerMetByAnAllocation: a record of this node that it does not know
// is found by the call that wanted its address, whatever the mirror heard
// while that call held the place.
func TestAStrangerMetByAnAllocation(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		at := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.2"))
		release, err := n.h.Places.Hold(c.Context(), at)
		n.h.must(err)
		stranger := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "h1", Epoch: 1, Nonce: "stranger"}
		_, err = c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(at.Key(), store.Encode(stranger))}})
		n.h.must(err)
		for _, m := range n.h.Mirrors.Covering(at) {
			for !m.Has(at.Addr) {
				if !store.Sleep(c.Context(), 1e6) {
					c.Fatal("the mirror never hears of the stranger")
				}
			}
		}
		p, _ := n.h.Memory.Pool(n.ids[0])
		views, err := n.h.views(p)
		n.h.must(err)
		if was, err := n.h.takeDynamic(c.Context(), p, []candidate{{at: at, view: views[0]}}); was.won >= 0 || err != nil {
			c.Fatalf("took a stranger's address: %+v, error %v", was, err)
		}
		release()
		held := n.h.waitHeld(func(h Held) bool { return h.Kind == HeldAddress })
		if held.Address != at.Addr || held.Nonce != "stranger" {
			c.Errorf("held %+v, want the stranger's %s", held, at.Addr)
		}
		n.h.must(n.h.FreeProvisional(c.Context(), held))
	})
}
