package ipam

import (
	"testing"
	"time"

	"gvlan/cluster/store"
)

// rest puts a container's lease into quarantine as an eviction does.
func (c *cluster) rest(ct *container, since time.Time) {
	c.Helper()
	it, rec := c.leaseAt("default", ct.ip())
	rec.State, rec.Since, rec.Unknown = store.Quarantined, since.Unix(), `{"later":1}`
	if _, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Put(it.Key, store.Encode(rec))}}); err != nil {
		c.Fatal(err)
	}
}

func TestAnEvictedNodeTakesItsOwnAddressesOutOfQuarantine(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		web := n.mustRun("web", "")
		c.rest(web, time.Now())
		conflicts, err := n.h.Reassert(c.Context())
		if err != nil || len(conflicts) > 0 {
			c.Fatalf("conflicts %v, error %v", conflicts, err)
		}
		if _, rec := c.leaseAt("default", web.ip()); !rec.Bound() || rec.Endpoint != web.endpoint || rec.Unknown != `{"later":1}` {
			c.Errorf("the lease is %+v, want it bound to the container again, with what a newer gvlan wrote", rec)
		}
		web.stop()
		if it, rec := c.leaseAt("default", web.ip()); it.Created != 0 {
			c.Errorf("after the container's end the lease is %+v", rec)
		}
	})
}

// TestARestingAddressIsNotReserved: the node it was taken from comes back.
func TestARestingAddressIsNotReserved(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.0.254"}})
		web := n.mustRun("web", "10.0.0.1")
		n.h.down() // it would take its own again at once
		c.rest(web, time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC))
		other := c.host("h2")
		for _, f := range []flags{
			{subnets: []string{"10.0.0.0/24"}}, // the gateway that is chosen
			{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.0.1"}},
			{subnets: []string{"10.0.0.0/24"}, gateways: []string{"10.0.0.254"}, aux: map[string]string{"nas": "10.0.0.1"}},
		} {
			_, err := other.create(f)
			checkErr(c, err, "address 10.0.0.1 cannot be reserved for the network: it has rested since 03:02:01 UTC, when node h1, which used it, was evicted")
		}
		n.h.up()
		if conflicts, err := n.h.Reassert(c.Context()); err != nil || len(conflicts) > 0 {
			c.Fatalf("on return: conflicts %v, error %v", conflicts, err)
		}
	})
}
