package ipam

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// Others' leases are the many here: they are read through and not held.
const (
	manyOthers  = 500
	pageOfMany  = 20
	manySegment = "many"
)

// fillOthers writes leases of another node, and returns their subnet.
func fillOthers(t *testing.T, kv store.KV) netip.Prefix {
	t.Helper()
	subnet := netip.MustParsePrefix("10.9.0.0/16")
	addr := subnet.Addr().Next()
	for done := 0; done < manyOthers; {
		var ops []store.Op
		for ; done < manyOthers && len(ops) < 100; done++ {
			lease := store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "other", Nonce: "0123456789abcdef", Endpoint: fmt.Sprint("e", done)}
			ops = append(ops, store.Put(store.LeaseKey(manySegment, addr), store.Encode(lease)))
			addr = addr.Next()
		}
		if _, err := kv.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
	}
	return subnet
}

// TestOthersLeasesAreReadByPages: what is looked for among all the leases there
// are must not need them all at once.
func TestOthersLeasesAreReadByPages(t *testing.T) {
	mem := storetest.NewMem()
	mem.PageSize = pageOfMany
	subnet := fillOthers(t, mem)
	gateway, aux := netip.MustParseAddr("10.9.0.0"), netip.MustParseAddr("10.9.200.0")
	const uuid = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
	for _, addr := range []netip.Addr{gateway, aux} {
		lease := store.Lease{State: store.Reserved, By: []string{uuid, "another"}}
		if _, err := mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.LeaseKey(manySegment, addr), store.Encode(lease))}}); err != nil {
			t.Fatal(err)
		}
	}
	spy := storetest.NewSpy(mem)
	h := oneHost(t, spy.As("h1"))
	n := store.Network{UUID: uuid, Name: "lan1", Created: store.Definition{Segment: manySegment, Pools: []store.Pool{{Subnet: subnet, Gateway: gateway}}}}
	for name, look := range map[string]func() error{
		"the reservations of a network": func() error {
			_, ops, err := h.UnreserveFor(t.Context(), n)
			if err == nil && len(ops) != 2 {
				err = fmt.Errorf("%d reservations are given up, want 2", len(ops))
			}
			return err
		},
		"claims": func() error {
			return h.EndManagerClaims(t.Context(), SwarmNetwork{ID: "none", Segment: manySegment, Subnets: []netip.Prefix{subnet}})
		},
		"this node's own": func() error { return h.upkeep.compare(t.Context()) },
	} {
		spy.Reset()
		if err := look(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r := spy.Reads("h1"); r.Items < manyOthers || r.Most > pageOfMany {
			t.Errorf("%s: %+v; want all of %d read, at most %d at once", name, r, manyOthers, pageOfMany)
		}
	}
}

// TestOwnLeasesAreComparedHoweverLongThatTakes: with more leases than one call's
// time is enough for, this node's are compared nonetheless.
func TestOwnLeasesAreComparedHoweverLongThatTakes(t *testing.T) {
	mem := storetest.NewMem()
	mem.PageSize = pageOfMany
	fillOthers(t, mem)
	h := oneHost(t, mem)
	h.stop()
	h.Timeout = time.Millisecond
	h.wire.Slow(time.Millisecond) // each page; there are 25
	if err := h.upkeep.compare(t.Context()); err != nil {
		t.Errorf("compare: %v", err)
	}
}

// oneHost is a host on a store whose records nobody checks, after the start's
// comparison.
func oneHost(t *testing.T, far store.Backend) *host {
	t.Helper()
	h := (&cluster{TB: t, far: far}).host("h1")
	t.Cleanup(h.stop)
	for h.upkeep.compared.Load() == 0 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return h
}
