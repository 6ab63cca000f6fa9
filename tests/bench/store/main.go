// Command store measures the store that hosts keep themselves: hosts of the
// lab with an agent each and no Docker, whose addresses are asked for as Docker
// asks. It prints each figure as "BENCH name value", and needs root and what
// tests/lab/install.sh installs:
//
//	go run ./tests/bench/store [-rounds 400] [-kills 25]
//
//	store_allocation_three_over_one      median time of RequestAddress with three members over that with one, on the same host
//	store_allocation_over_put            the same with three members over a bare put of 200 bytes on the same member, in turns
//	store_failover_p50_ms, ..._p99_ms    from SIGKILL of the agent whose member leads until another host was given an address it asked for afterwards
//	store_failover_p50_over_election     that over etcd's own election timeout, 1 s, and so for p99
//
// The members' disks are memory here: what a put waits for is the LAN and the
// quorum, not a disk.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 400, "addresses asked for with each number of members")
	kills := flag.Int("kills", 25, "leaders killed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%d CPUs\n", runtime.NumCPU())
	if err := run(ctx, *rounds, *kills); err != nil {
		log.Fatal("bench store: ", err)
	}
}

func run(ctx context.Context, rounds, kills int) (retErr error) {
	c, err := begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := c.Close(); retErr == nil {
			retErr = err
		}
	}()
	one, _, err := c.inTurns(ctx, rounds)
	if err != nil {
		return fmt.Errorf("measure one member: %w", err)
	}
	if err := c.grow(ctx); err != nil {
		return err
	}
	three, put, err := c.inTurns(ctx, rounds)
	if err != nil {
		return fmt.Errorf("measure three members: %w", err)
	}
	report("store_allocation_three_over_one", ratio(percentile(three, 50), percentile(one, 50)))
	report("store_allocation_over_put", ratio(percentile(three, 50), percentile(put, 50)))
	took, err := c.failovers(ctx, kills)
	if err != nil {
		return fmt.Errorf("measure failovers: %w", err)
	}
	election := time.Duration(embed.NewConfig().ElectionMs) * time.Millisecond
	for _, p := range []int{50, 99} {
		at := percentile(took, p)
		report(fmt.Sprintf("store_failover_p%d_ms", p), float64(at.Milliseconds()))
		report(fmt.Sprintf("store_failover_p%d_over_election", p), ratio(at, election))
	}
	return nil
}

// inTurns times addresses and bare puts on the first host.
func (c *cluster) inTurns(ctx context.Context, rounds int) (addresses, puts []time.Duration, err error) {
	for i := range rounds {
		took, err := timed(func() error { return c.plugins[0].address(ctx) })
		if err != nil {
			return nil, nil, err
		}
		addresses = append(addresses, took)
		if took, err = timed(func() error { return c.put(ctx, fmt.Sprintf("/bench/%d", i)) }); err != nil {
			return nil, nil, err
		}
		puts = append(puts, took)
		if err := c.plugins[0].release(ctx); err != nil {
			return nil, nil, err
		}
	}
	return addresses, puts, nil
}

// percentile of durations: the smallest that so many percent do not exceed.
func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// report prints one figure.
func report(name string, value float64) { fmt.Printf("BENCH %s %.4g\n", name, value) }
