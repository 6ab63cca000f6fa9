package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

const ownLeases = 10_000

// ofMany does all of them, 64 at once.
func ofMany(ctx context.Context, count int, do func(ctx context.Context, i int) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range count {
		group.Go(func() error { return do(inGroup, i) })
	}
	return group.Wait()
}

// own is a start of an agent with many leases: from its process's to its first
// address.
func own(ctx context.Context, b *bench, e *etcd) (retErr error) {
	a, err := e.agent(ctx, "h1")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, a.close()) }()
	if err := a.open(ctx, "10.1.0.0/16"); err != nil {
		return err
	}
	if err := ofMany(ctx, ownLeases, func(ctx context.Context, _ int) error { _, err := a.ask(ctx); return err }); err != nil {
		return err
	}
	var took []float64
	for range b.rounds {
		if err := a.close(); err != nil {
			return err
		}
		one, err := timed(func() error {
			pool := a.pool
			if a, err = e.agent(ctx, "h1"); err != nil {
				return err
			}
			a.pool = pool
			return a.serves(ctx)
		})
		if err != nil {
			return err
		}
		took = append(took, ms(one))
	}
	b.report.most("serving_ms_10k_own", median(took), 500)
	return nil
}

// drain is an outage in which many addresses are released, and its end.
func drain(ctx context.Context, b *bench, e *etcd) error {
	var wire *storetest.Wire
	h, err := e.hostOver(ctx, "h1", func(far store.Backend) store.Backend {
		wire = storetest.NewWire(far)
		return wire
	})
	if err != nil {
		return err
	}
	n, err := h.network(ctx, "10.1.0.0/16", nil)
	if err != nil {
		return err
	}
	addrs := make([]netip.Addr, ownLeases)
	err = ofMany(ctx, ownLeases, func(ctx context.Context, i int) (err error) {
		addrs[i], err = n.ask(ctx)
		return err
	})
	if err != nil {
		return err
	}
	wire.Down()
	away, err := timed(func() error {
		return ofMany(ctx, len(addrs), func(ctx context.Context, i int) error { return n.release(ctx, addrs[i]) })
	})
	if err != nil {
		return err
	}
	b.report.say("journaled_releases_per_s", ownLeases/away.Seconds())
	if got := h.Pending(); got != ownLeases {
		return fmt.Errorf("%d releases are pending, want %d", got, ownLeases)
	}
	wire.Up()
	began := time.Now()
	for h.Pending() > 0 {
		if time.Since(began) > 2*time.Minute {
			break
		}
		if !store.Sleep(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
	b.report.most("drain_s_10k", time.Since(began).Seconds(), 5)
	return nil
}

// refusals is 100 requests a second for five seconds on a /16 that others fill.
func refusals(ctx context.Context, b *bench, e *etcd) error {
	if err := e.occupy(ctx, netip.MustParsePrefix("10.1.0.0/16"), 100); err != nil {
		return err
	}
	h, err := e.host(ctx, "h1")
	if err != nil {
		return err
	}
	n, err := h.network(ctx, "10.1.0.0/16", nil)
	if err != nil {
		return err
	}
	if !store.Sleep(ctx, 2*time.Second) { // until the mirror stands
		return ctx.Err()
	}
	const seconds, aSecond = 5, 100
	var falseWords atomic.Int64
	took := make([]time.Duration, seconds*aSecond)
	lists := h.store.lists.Load()
	var group errgroup.Group
	tick := time.NewTicker(time.Second / aSecond)
	defer tick.Stop()
	began := time.Now()
	for i := range took {
		group.Go(func() error {
			one, err := timed(func() error {
				_, err := n.ask(ctx)
				return err
			})
			took[i] = one
			if err == nil || errors.Is(err, store.ErrUnavailable) {
				falseWords.Add(1)
			}
			return ctx.Err()
		})
		<-tick.C
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.report.most("refusals_listings_per_s", float64(h.store.lists.Load()-lists)/time.Since(began).Seconds(), 2)
	b.report.most("refusals_false_words", float64(falseWords.Load()), 0)
	b.report.say("refusal_p50_ms", ms(percentile(took, 50)))
	b.report.say("refusal_p99_ms", ms(percentile(took, 99)))
	return nil
}
