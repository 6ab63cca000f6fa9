package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam"
)

// single is one request at a time.
func single(ctx context.Context, b *bench, e *etcd) error {
	n, err := e.lone(ctx)
	if err != nil {
		return err
	}
	b.report.say("lease_bytes", float64(len(e.value)))
	if err := b.inTurns(ctx, e, n); err != nil {
		return err
	}
	return b.lives(ctx, e, n)
}

// inTurns times addresses, creates and puts.
func (b *bench) inTurns(ctx context.Context, e *etcd, n *network) error {
	const each = 300 // of a round
	var p50, p99, p50ms, createMs, putMs []float64
	rpcs, given := n.h.store.rpcs(), 0
	for range b.rounds {
		var addresses, creates, puts []time.Duration
		for i := range each {
			steps := []struct {
				took *[]time.Duration
				do   func() error
			}{
				{&addresses, func() error { _, err := n.ask(ctx); return err }},
				{&creates, func() error { return e.create(ctx) }},
				{&puts, func() error { return e.put(ctx) }},
			}
			for j := range steps {
				step := steps[(i+j)%len(steps)] // none is always behind the same
				took, err := timed(step.do)
				if err != nil {
					return err
				}
				*step.took = append(*step.took, took)
			}
		}
		given += each
		p50 = append(p50, ratio(percentile(addresses, 50), percentile(creates, 50)))
		p99 = append(p99, ratio(percentile(addresses, 99), percentile(puts, 99)))
		p50ms = append(p50ms, ms(percentile(addresses, 50)))
		createMs = append(createMs, ms(percentile(creates, 50)))
		putMs = append(putMs, ms(percentile(puts, 50)))
	}
	b.report.say("P_p50_ms", median(putMs))
	b.report.say("T_p50_ms", median(createMs))
	b.report.say("alloc_p50_ms_c1", median(p50ms))
	b.report.most("alloc_p50_c1_over_T", median(p50), 1.15)
	b.report.most("alloc_p99_c1_over_P", median(p99), 1.5)
	b.report.most("rpcs_per_alloc_c1", float64(n.h.store.rpcs()-rpcs)/float64(given), 1.00499)
	return nil
}

// lives counts what a container's life costs: an address, its endpoint, the
// endpoint's end, the release. The syncs are this process's: etcd is another one.
func (b *bench) lives(ctx context.Context, e *etcd, n *network) error {
	const count = 100
	journal, err := countSyncs(os.Getpid())
	if err != nil {
		return err
	}
	defer journal.close()
	wal, err := countSyncs(e.process.Process.Pid)
	if err != nil {
		return err
	}
	defer wal.close()
	commits := n.h.store.commits.Load()
	for range count {
		if err := n.live(ctx); err != nil {
			return err
		}
	}
	commits = n.h.store.commits.Load() - commits
	own, err := journal.total()
	if err != nil {
		return err
	}
	etcds, err := wal.total()
	if err != nil {
		return err
	}
	b.report.most("txns_per_container_life", float64(commits)/count, 3.0499)
	b.report.most("fdatasyncs_per_container_life", float64(own)/count, 4)
	b.report.say("etcd_fdatasyncs_per_container_life", float64(etcds)/count)
	return nil
}

func (n *network) live(ctx context.Context) error {
	addr, err := n.ask(ctx)
	if err != nil {
		return err
	}
	endpoint := id()
	err = n.h.Bind(ctx, ipam.Binding{
		Network: n.id, Endpoint: endpoint, Addresses: []netip.Addr{addr},
		Record: store.Endpoint{Network: n.id, Segment: "default", IPv4: addr.String(), Since: 1},
	})
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := n.h.Unbind(ctx, endpoint); err != nil {
		return fmt.Errorf("unbind: %w", err)
	}
	return n.release(ctx, addr)
}
