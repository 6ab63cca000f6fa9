package ipam

import (
	"errors"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// TestASecondAskForALivingContainersAddress: the
// refusal must come from RequestAddress, and a release that Docker sends all
// the same must not free the address of the container that runs.
func TestASecondAskForALivingContainersAddress(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.77.0.0/24").define("lan1")
		web := n.mustRun("web", "10.77.0.50")
		before, _ := c.leaseAt("default", "10.77.0.50")

		_, err := n.run("thief", "10.77.0.50")
		checkErr(c, err, "address 10.77.0.50 is in use by container web on node h1 (network lan1)")
		n.h.must(n.h.ReleaseAddress(c.Context(), n.ids[0], "10.77.0.50"))
		if after, _ := c.leaseAt("default", "10.77.0.50"); after.Modified != before.Modified {
			c.Errorf("the lease changed from %+v to %+v", before, after)
		}
		other := c.host("h2").mustCreate("10.77.0.0/24")
		_, err = other.run("thief", "10.77.0.50")
		checkErr(c, err, "address 10.77.0.50 is in use by container web on node h1 (network lan1)")
		other.h.must(other.h.ReleaseAddress(c.Context(), other.ids[0], "10.77.0.50"))
		if after, _ := c.leaseAt("default", "10.77.0.50"); after.Modified != before.Modified {
			c.Errorf("the lease changed from %+v to %+v", before, after)
		}

		web.stop()
		if it, _ := c.leaseAt("default", "10.77.0.50"); it.Created != 0 {
			c.Errorf("after a true stop the lease is still %+v", it)
		}
		other.mustRun("next", "10.77.0.50")
	})
}

func TestAskingAgainBeforeTheBindGetsTheSameAnswer(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n, other := h.mustCreate("10.0.0.0/24"), h.mustCreate("10.0.0.0/24")
		for range 2 {
			if _, err := h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0], Address: "10.0.0.7"}); err != nil {
				c.Errorf("ask: %v", err)
			}
		}
		_, err := h.RequestAddress(c.Context(), AddressRequest{PoolID: other.ids[0], Address: "10.0.0.7"})
		checkErr(c, err, "is being given to another container")
	})
}

func TestADeadEndpointGivesItsAddressBack(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "10.0.0.7")
		n.h.kill(web)
		n.mustRun("web", "10.0.0.7")
	})
}

// TestAnAddressIsFreeWhenTheStopReturns repeats docker run --rm --ip on two
// hosts in turn.
func TestAnAddressIsFreeWhenTheStopReturns(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		lans := []*lan{c.host("h1").mustCreate("10.0.0.0/24", "fd00::/64"), c.host("h2").mustCreate("10.0.0.0/24", "fd00::/64")}
		for i := range 20 {
			lans[i%2].mustRun("", []string{"10.0.0.9", "fd00::9"}[i/2%2]).stop()
		}
	})
}

func TestGatewayAndAuxAreRefusedToContainers(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		f := flags{
			subnets: []string{"192.168.1.0/24"}, aux: map[string]string{"router2": "192.168.1.5"},
			opts: map[string]string{"exclude": "192.168.1.5"},
		}
		n := c.host("h1").mustCreateWith(f)
		_, err := n.run("", "192.168.1.1")
		checkErr(c, err, "address 192.168.1.1 is the gateway of network h1-net-1-012")
		n.define("lan1")
		for _, host := range []string{"h2", "h3"} {
			other := c.host(host).mustCreate("192.168.1.0/24")
			other.h.must(other.h.Detach(other.id)) // only h1's names are left
			other = other.h.mustCreateWith(flags{subnets: []string{"192.168.1.0/24"}, gateways: []string{"192.168.1.254"}})
			_, err = other.run("", "192.168.1.1")
			checkErr(c, err, "address 192.168.1.1 is the gateway of network lan1")
			_, err = other.run("", "192.168.1.5")
			checkErr(c, err, "address 192.168.1.5 is the auxiliary address router2 of network lan1")
		}
		_, err = n.run("", "192.168.1.5")
		checkErr(c, err, "address 192.168.1.5 is the auxiliary address router2 of network lan1")
	})
}

// TestALateTransactionIsFound plants a record of this node that it does not
// know, as a transaction leaves that was given up and landed late.
func TestALateTransactionIsFound(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		late := pool.At("default", n.pools[0].Subnet.Addr().Next().Next().Next())
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(late.Key(), store.Encode(store.Lease{
			State: store.Leased, Kind: store.Dynamic, Node: "h1", Nonce: someNonce, Network: "engine:" + n.id,
		}))}})
		n.h.must(err)
		held := n.h.waitHeld(func(h Held) bool { return h.Address == late.Addr })
		if held.Network != n.id {
			c.Errorf("held for network %q, want %q", held.Network, n.id)
		}
		n.h.must(n.h.FreeProvisional(c.Context(), held))
		if it, _ := c.leaseAt("default", late.Addr.String()); it.Created != 0 {
			c.Errorf("it is still there: %+v", it)
		}
	})
}

// waitHeld waits for a provisional holding.
func (h *host) waitHeld(which func(Held) bool) Held {
	h.c.Helper()
	for {
		all, err := h.Provisional(h.c.Context())
		h.must(err)
		for _, held := range all {
			if which(held) {
				return held
			}
		}
		h.Wake()
		if !store.Sleep(h.c.Context(), 1e6) {
			h.c.Fatal("it is never held")
		}
	}
}

func TestLostRepliesLeaveOneLease(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		for _, lose := range []int{1, 3} {
			n.h.wire.DropReplies(lose)
			a := n.mustRun("", "")
			n.h.wire.DropRequests(lose)
			b := n.mustRun("", "10.0.0.99")
			n.h.wire.DropReplies(lose)
			a.stop()
			b.stop()
		}
		if items := c.list(store.LeasesSpan("default", n.pools[0].Subnet)); len(items) != 1 {
			c.Errorf("the store holds %v, want the gateway alone", KeysOf(items))
		}
	})
}

// TestAnAnswerThatNeverComesIsGivenBack loses every reply until the request
// is given up, though the store did what was asked.
func TestAnAnswerThatNeverComesIsGivenBack(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		ctx := n.h.mute(store.LeasesSpan("default", n.pools[0].Subnet), func(items []store.Item) bool { return len(items) == 2 })
		if _, err := n.h.RequestAddress(ctx, AddressRequest{PoolID: n.ids[0]}); !errors.Is(err, store.ErrUnavailable) {
			c.Errorf("error %v, want %v", err, store.ErrUnavailable)
		}
		n.h.hear()
		c.until("the lease is given back", store.LeasesSpan("default", n.pools[0].Subnet),
			func(items []store.Item) bool { return len(items) == 1 })
	})
}

func TestMACOfAnAddress(t *testing.T) {
	n := mustPrefix("10.0.0.5/32").Addr()
	mac := MAC("cluster", "default", n)
	if mac.String() != "02:84:79:04:70:86" {
		t.Errorf("MAC = %s, want 02:84:79:04:70:86: containers would lose theirs", mac)
	}
	for _, other := range []string{
		MAC("other", "default", n).String(), MAC("cluster", "red", n).String(), MAC("cluster", "default", n.Next()).String(),
	} {
		if other == mac.String() {
			t.Errorf("two addresses, segments or clusters share MAC %s", mac)
		}
	}
}

var _ store.Backend = (*counted)(nil)
