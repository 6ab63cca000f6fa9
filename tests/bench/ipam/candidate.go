package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// candidate is the choice of an address alone, in a /8 of which one in a thousand
// is free: the lowest, and one apart from what others choose.
func candidate(_ context.Context, b *bench) error {
	within := netip.MustParsePrefix("10.0.0.0/8")
	random := rand.New(rand.NewPCG(1, 2))
	m := mirror.New(pool.DefaultSegment, within, random)
	m.Begin(0)
	var page []store.Item
	addr := within.Addr()
	for range 1 << 24 {
		if random.IntN(1000) != 0 {
			page = append(page, store.Item{Key: store.LeaseKey(pool.DefaultSegment, addr)})
		}
		if len(page) == 10_000 {
			m.Page(page)
			page = page[:0]
		}
		addr = addr.Next()
	}
	m.Page(page)
	m.Apply(store.Change{Reset: true, Revision: 1})
	want := mirror.Want{Ranges: []netip.Prefix{within}, Order: pool.Lowest}
	// What no network gives, first and last address and what hosts have.
	for _, never := range []string{"10.0.0.0/32", "10.255.255.255/32", "10.0.0.1/32"} {
		set := new(addrset.Set)
		set.Add(addrset.Of(netip.MustParsePrefix(never)))
		want.Never = append(want.Never, set)
	}
	for name, apart := range map[string]bool{"candidate": false, "candidate_apart": true} {
		if err := choices(b, name, m, want, apart); err != nil {
			return err
		}
	}
	return nil
}

// choices times one choice after another and counts what they allocate.
func choices(b *bench, name string, m *mirror.Mirror, want mirror.Want, apart bool) error {
	const asked = 200_000
	took := make([]time.Duration, asked)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range took {
		began := time.Now()
		_, ok := m.Choose(want, apart)
		took[i] = time.Since(began)
		if !ok {
			return errors.New("no candidate, though some are free")
		}
	}
	runtime.ReadMemStats(&after)
	b.report.say(name+"_p50_ns", float64(percentile(took, 50).Nanoseconds()))
	b.report.most(name+"_p99_ns", float64(percentile(took, 99).Nanoseconds()), 2000)
	b.report.most(name+"_allocs", float64((after.Mallocs-before.Mallocs)/asked), 0)
	return nil
}
