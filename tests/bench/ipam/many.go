package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
)

const (
	clients = 64
	atOnce  = 4096 // requests of a round
)

// many is 64 requests at once.
func many(ctx context.Context, b *bench, e *etcd) error {
	n, err := e.lone(ctx)
	if err != nil {
		return err
	}
	var alloc, release, rpcs, puts []float64
	for range b.rounds {
		put, err := rate(ctx, func(ctx context.Context, _ int) error { return e.put(ctx) })
		if err != nil {
			return err
		}
		addrs := make([]netip.Addr, atOnce)
		before := n.h.store.rpcs()
		asked, err := rate(ctx, func(ctx context.Context, i int) (err error) {
			addrs[i], err = n.ask(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("ask: %w", err)
		}
		rpcs = append(rpcs, float64(n.h.store.rpcs()-before)/atOnce)
		released, err := rate(ctx, func(ctx context.Context, i int) error { return n.release(ctx, addrs[i]) })
		if err != nil {
			return fmt.Errorf("release: %w", err)
		}
		puts = append(puts, put)
		alloc = append(alloc, asked/put)
		release = append(release, released/put)
	}
	b.report.say("P64_per_s", median(puts))
	b.report.least("alloc_rate_c64_over_P64", median(alloc), 1.3)
	b.report.least("release_rate_c64_over_P64", median(release), 1.5)
	b.report.most("rpcs_per_alloc_c64", median(rpcs), 0.10)
	return fenced(ctx, e, n)
}

// rate is how many a second there are of 64 at once.
func rate(ctx context.Context, do func(ctx context.Context, i int) error) (float64, error) {
	var next atomic.Int64
	group, inGroup := errgroup.WithContext(ctx)
	began := time.Now()
	for range clients {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < atOnce; i = next.Add(1) - 1 {
				if err := do(inGroup, int(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return atOnce / time.Since(began).Seconds(), err
}

// fenced takes the host's epoch away and asks once more: what was measured
// compares it.
func fenced(ctx context.Context, e *etcd, n *network) error {
	key := prefix + store.EpochKey(n.h.name)
	reply, err := e.raw.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(reply.Kvs) == 0 {
		return fmt.Errorf("the host has no epoch at %s", key)
	}
	var epoch map[string]any
	if err := json.Unmarshal(reply.Kvs[0].Value, &epoch); err != nil {
		return err
	}
	epoch["install"] = "another install"
	raw, err := json.Marshal(epoch)
	if err != nil {
		return err
	}
	if _, err := e.raw.Put(ctx, key, string(raw)); err != nil {
		return err
	}
	if addr, err := n.ask(ctx); err == nil {
		return fmt.Errorf("%s was given after the host's epoch was taken", addr)
	}
	return nil
}
