package ipam

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// TestRequestsWaitForAStoreThatIsBeingOpened: an agent was just started, and
// Docker asks before its store answers.
func TestRequestsWaitForAStoreThatIsBeingOpened(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		h := n.h
		h.down()
		h.restart()
		answers := make(chan error, 3)
		go func() {
			_, err := h.RequestPool(c.Context(), PoolRequest{Space: pool.LocalSpace, Pool: "10.1.0.0/24"})
			answers <- err
		}()
		given := make(chan netip.Prefix, 2)
		for _, address := range []string{"", "10.0.0.9"} {
			go func() {
				addr, err := h.RequestAddress(c.Context(), AddressRequest{PoolID: n.ids[0], Address: address})
				given <- addr
				answers <- err
			}()
		}
		select {
		case err := <-answers:
			c.Fatalf("answered before the store is open: %v", err)
		case <-time.After(50 * time.Millisecond): // an answer at once would be here
		}
		h.up()
		for range cap(answers) {
			if err := <-answers; err != nil {
				c.Error(err)
			}
		}
		if one, two := <-given, <-given; !one.IsValid() || !two.IsValid() || one == two {
			c.Errorf("given %s and %s", one, two)
		}
	})
}

// TestRequestsDoNotWaitForEver: most of what the call has, then less.
func TestRequestsDoNotWaitForEver(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		h.down()
		h.restart()
		for range 2 {
			ctx, cancel := context.WithTimeout(c.Context(), 200*time.Millisecond)
			_, err := h.RequestPool(ctx, PoolRequest{Space: pool.LocalSpace, Pool: "10.1.0.0/24"})
			if !errors.Is(err, store.ErrUnavailable) {
				c.Errorf("RequestPool: %v, want ErrUnavailable", err)
			}
			cancel()
		}
		if !h.Waited.Load() {
			c.Error("the next request waits as long as the first")
		}
	})
}
