package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gvlan/cluster/store"
)

// socket is the plugin socket, as Docker uses it, and what is below it, in turns.
func socket(ctx context.Context, b *bench, e *etcd) (retErr error) {
	a, err := e.agent(ctx, "h1")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, a.close()) }()
	if err := a.open(ctx, "10.1.0.0/16"); err != nil {
		return err
	}
	const each = 200
	var over, askedMs, emptyMs []float64
	for range b.rounds {
		var asked, empty, creates []time.Duration
		for range each {
			took, err := timed(func() error { return a.empty(ctx) })
			if err != nil {
				return err
			}
			empty = append(empty, took)
			if took, err = timed(func() error { _, err := a.ask(ctx); return err }); err != nil {
				return err
			}
			asked = append(asked, took)
			if took, err = timed(func() error { return e.create(ctx) }); err != nil {
				return err
			}
			creates = append(creates, took)
		}
		over = append(over, ratio(percentile(asked, 50), percentile(empty, 50)+percentile(creates, 50)))
		askedMs = append(askedMs, ms(percentile(asked, 50)))
		emptyMs = append(emptyMs, ms(percentile(empty, 50)))
	}
	b.report.say("socket_empty_p50_ms", median(emptyMs))
	b.report.say("socket_alloc_p50_ms", median(askedMs))
	b.report.most("socket_alloc_p50_over_empty_and_T", median(over), 1.2)
	return nil
}

// foreign is a /8 in which others have a million leases, for an agent that
// comes to know of it, beside one on the same etcd whose store is empty.
func foreign(ctx context.Context, b *bench, e *etcd) (retErr error) {
	const leases = 1_000_000
	if err := e.load(ctx, leases, func(i int) (key, value string) { return foreignLease(nth(i * 16)) }); err != nil {
		return err
	}
	idle, err := e.agent(ctx, "idle", "--etcd-prefix", "/bench/empty")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, idle.close()) }()
	if err := idle.open(ctx, "10.0.0.0/8"); err != nil {
		return err
	}
	if _, err := idle.ask(ctx); err != nil {
		return err
	}
	a, err := e.agent(ctx, "h1", "--etcd-prefix", prefix)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, a.close()) }()
	if err := a.open(ctx, "10.0.0.0/8"); err != nil {
		return err
	}
	first, failures := time.Now(), 0
	for {
		if _, err = a.ask(ctx); err == nil || time.Since(first) > time.Minute {
			break
		}
		failures++
	}
	b.report.most("foreign_1M_first_address_s", time.Since(first).Seconds(), 5)
	b.report.most("foreign_1M_failures_before", float64(failures), 0)
	if err != nil {
		return fmt.Errorf("no address within a minute: %w", err)
	}
	if !store.Sleep(ctx, 10*time.Second) { // until it has listed what it wants to
		return ctx.Err()
	}
	if err := sayMemory(b, a, idle); err != nil {
		return err
	}
	return both(ctx, b, a, idle)
}

// nth is an address of 10.0.0.0/8.
func nth(i int) netip.Addr {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], 10<<24+uint32(i)%(1<<24))
	return netip.AddrFrom4(raw)
}

func sayMemory(b *bench, a, idle *agent) error {
	var mib [3]float64
	for i, of := range []struct {
		agent *agent
		field string
	}{{idle, "VmRSS"}, {a, "VmRSS"}, {a, "VmHWM"}} {
		var err error
		if mib[i], err = of.agent.memoryMiB(of.field); err != nil {
			return err
		}
	}
	b.report.say("idle_rss_mib", mib[0])
	b.report.most("foreign_1M_rss_above_idle_mib", mib[1]-mib[0], 32)
	b.report.most("foreign_1M_peak_above_idle_mib", mib[2]-mib[0], 64)
	return nil
}

// both times an address of each of two agents, in turns.
func both(ctx context.Context, b *bench, a, idle *agent) error {
	const each = 60
	var all []float64
	for range b.rounds {
		var took [2][]time.Duration
		for range each {
			for i, one := range []*agent{a, idle} {
				t, err := timed(func() error { _, err := one.ask(ctx); return err })
				if err != nil {
					return err
				}
				took[i] = append(took[i], t)
			}
		}
		all = append(all, ratio(percentile(took[0], 50), percentile(took[1], 50)))
	}
	b.report.most("foreign_1M_p50_over_empty", median(all), 1.25)
	return nil
}
