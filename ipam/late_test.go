package ipam

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/pool"
)

// An address whose transaction is still on its way when the request is given up
// is settled by the same transaction: nothing lands after it was forgotten.
func TestWhatLandsLateIsGivenBack(t *testing.T) {
	for name, at := range map[string]func(h *host, land func()){
		"before it is asked for again": func(h *host, land func()) { h.lossy.forestall(makes, land) },
		"before it is deleted":         func(h *host, land func()) { h.lossy.forestall(deletes, land) },
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24")
				n.h.stop() // so that nothing is settled before
				ctx, cancel := context.WithCancel(c.Context())
				n.h.lossy.delay(makes, cancel)
				_, err := n.h.RequestAddress(ctx, AddressRequest{PoolID: n.ids[0], Address: "10.0.0.9"})
				if !errors.Is(err, store.ErrUnavailable) {
					c.Fatalf("error %v, want %v", err, store.ErrUnavailable)
				}
				n.h.SuspectAt(n.h.Memory.Leases(func(journal.Lease) bool { return true })[0].Place()) // a look comes first
				at(n.h, func() { n.h.must(n.h.lossy.land(c.Context())) })
				n.h.attend(c.Context())
				n.h.must(n.h.lossy.land(c.Context()))
				if items := c.list(store.AllLeasesSpan()); len(items) != 1 {
					c.Errorf("the store holds %v, want the gateway", KeysOf(items))
				}
				if n.h.Pending() != 0 {
					c.Error("its release is still to be written")
				}
			})
		})
	}
}

func TestAWorkersClaimThatLandsLate(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		s := newSwarm(c)
		s.play("h1 leads", "h1 claims")
		h := s.nodes["h2"]
		s.play("h2 works", "h2 gives up")
		h.stop() // so that nothing is settled before
		ctx, cancel := context.WithCancel(c.Context())
		h.lossy.delay(rewrites, cancel)
		_, err := h.RequestAddress(ctx, AddressRequest{PoolID: h.working, Address: taskAddress})
		if !errors.Is(err, store.ErrUnavailable) {
			c.Fatalf("error %v, want %v", err, store.ErrUnavailable)
		}
		h.SuspectAt(pool.At(pool.DefaultSegment, netip.MustParseAddr(taskAddress))) // a look comes first
		h.attend(c.Context())
		s.must(h.lossy.land(c.Context()))
		if got := s.record(); got != "manager" {
			c.Errorf("claimed by %s, want the manager alone", got)
		}
	})
}
