package ipam

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// Debts are paid many at a time, after the first of them was.
func TestDebtsArePaidTogether(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		h := c.host("h1")
		var first atomic.Bool
		var all sync.WaitGroup
		all.Add(together)
		undone := []func() error{func() error {
			time.Sleep(10 * time.Millisecond) // for whoever would not wait for it
			first.Store(true)
			return nil
		}}
		for range together {
			undone = append(undone, func() error {
				if !first.Load() {
					c.Error("one is paid before the first was")
				}
				all.Done()
				all.Wait() // for all of them to be under way
				return nil
			})
		}
		if !h.pay(undone, new(atomic.Bool)) {
			c.Error("the store is said not to answer")
		}
	})
}

// A store that does not answer is asked no more.
func TestDebtsWaitForAStoreThatAnswers(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		h := c.host("h1")
		for name, at := range map[string]int{"at the first": 0, "later": 100} {
			var asked atomic.Int64
			var undone []func() error
			for i := range 1000 {
				undone = append(undone, func() error {
					asked.Add(1)
					if i >= at {
						return store.ErrUnavailable
					}
					return nil
				})
			}
			if h.pay(undone, new(atomic.Bool)) {
				c.Errorf("%s: the store is said to answer", name)
			}
			if n := asked.Load(); n > int64(at+together) || at == 0 && n != 1 {
				c.Errorf("%s: asked %d times", name, n)
			}
		}
	})
}

func TestManyReleasesOfAnOutage(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/22", "fd00::/64")
		var stopped []*container
		for range 40 {
			stopped = append(stopped, n.mustRun("", ""))
		}
		n.h.down()
		for _, ct := range stopped {
			ct.stop()
		}
		n.h.up()
		c.until("all addresses are free", store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 2 })
		c.until("the endpoints' records are gone", store.EndpointsSpan(), empty)
	})
}

// A debt that the store refuses is a trouble until all of them are paid.
func TestARefusedDebtIsATrouble(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		h := c.host("h1")
		h.stop() // or it would be over at the next round
		var refused atomic.Bool
		fails := func() error { return errors.New("no permission") }
		if !h.pay([]func() error{fails, fails}, &refused) || !refused.Load() || len(h.Troubles.List()) != 1 {
			c.Errorf("refused %v, troubles %v, want one", refused.Load(), h.Troubles.List())
		}
		h.settle(c.Context())
		if h.Troubles.Any() {
			c.Errorf("all is paid, and %v goes on", h.Troubles.List())
		}
	})
}
