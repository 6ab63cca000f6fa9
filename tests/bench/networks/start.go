package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/driver/engine"
	"gvlan/tests/lab"
)

// start measures a host that finds many definitions: at its agent's first
// start it makes every network, at the next ones it only looks. Beside it, an
// engine of the same release makes as many with a driver that does nothing.
func start(ctx context.Context, release lab.Release, definitions int) error {
	c, err := up(ctx, release, 3)
	if err != nil {
		return err
	}
	defer c.Close()
	maker, host := c.Hosts[0], c.Hosts[1]
	if _, err := c.agent(ctx, maker); err != nil {
		return err
	}
	if err := c.await(ctx, maker, trusted); err != nil {
		return err
	}
	if err := define(ctx, maker, definitions, "gvlan"); err != nil {
		return err
	}
	all := func(s status) bool { return s.Etcd.Trusted && s.bound() == definitions }
	if err := c.await(ctx, maker, all); err != nil {
		return err
	}
	alone, err := engineAlone(ctx, c.Hosts[2], definitions)
	if err != nil {
		return fmt.Errorf("measure the engine alone: %w", err)
	}
	made, err := count(ctx, host, definitions)
	if err != nil {
		return err
	}
	defer made.close()
	began := time.Now()
	agent, err := c.agent(ctx, host)
	if err != nil {
		return err
	}
	if err := made.await(ctx, definitions); err != nil {
		return err
	}
	if err := c.await(ctx, host, all); err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("%d definitions\n", definitions)
	report("engine_alone_s", alone.Seconds())
	report("first_start_over_engine", took.Seconds()/alone.Seconds())
	if err := cost("first_start", agent, took); err != nil {
		return err
	}
	if err := agent.Stop(ctx); err != nil {
		return err
	}
	began = time.Now()
	if err := agent.Start(ctx); err != nil {
		return err
	}
	if err := c.await(ctx, host, all); err != nil {
		return err
	}
	return cost("restart", agent, time.Since(began))
}

// define makes networks of a driver with one subnet each, four at once.
func define(ctx context.Context, h *lab.Host, n int, driver string) error {
	e, err := engine.New(engine.Config{Socket: h.Engine.Socket()})
	if err != nil {
		return err
	}
	defer e.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range n {
		group.Go(func() error {
			subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
			_, err := e.CreateNetwork(ctx, engine.NetworkRequest{
				Name: fmt.Sprintf("lan%d", i), Driver: driver, IPv4: true, Options: map[string]string{"parent": "eth1"},
				IPAM: engine.IPAM{Driver: driver, Pools: []engine.Pool{{Subnet: subnet}}},
			})
			return err
		})
	}
	return group.Wait()
}

// cost reports the time that passed, and CPU and memory of an agent since it
// began: proc(5), stat and status.
func cost(what string, agent *lab.Agent, took time.Duration) error {
	report(what+"_s", took.Seconds())
	proc := fmt.Sprintf("/proc/%d/", agent.PID)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	var ticks float64 // of 1/100 s
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return fmt.Errorf("read %sstat: %w", proc, err)
		}
		ticks += n
	}
	report(what+"_cpu_s", ticks/100)
	text, err := os.ReadFile(proc + "status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 64)
			if err != nil {
				return fmt.Errorf("read %sstatus: %w", proc, err)
			}
			report(what+"_rss_mib", n/1024)
		}
	}
	return nil
}
