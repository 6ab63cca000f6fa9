// Command agent measures one agent on a real engine's host with an etcd of its
// own, and prints each figure as "BENCH name value".
//
//	agent_rss_mb                 memory of an idle agent with 100 leases, external etcd
//	address_over_empty_request   time of RequestAddress over that of a request that does nothing, both through the plugin's socket
//	address_over_etcd_put        time of RequestAddress over that of one bare put of the same etcd from the same host
//
// Ratios are of medians measured in turns in one run.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gvlan/tests/lab"
	"gvlan/tests/plugin"
)

const (
	leases = 100
	rounds = 400
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (retErr error) {
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(1, lab.Docker28)})
	if err != nil {
		return err
	}
	defer func() {
		if err := l.Close(); retErr == nil {
			retErr = err
		}
	}()
	etcd, err := l.NewEtcd(ctx, lab.EtcdOptions{})
	if err != nil {
		return err
	}
	h := l.Hosts[0]
	binary, err := lab.Build(ctx, "gvlan/cmd/gvlan", "-trimpath", "-ldflags=-s -w")
	if err != nil {
		return err
	}
	agent, err := h.StartAgent(ctx, lab.AgentOptions{Binary: binary, Args: []string{
		"agent", "--node-name", "h1", "--etcd-endpoints", etcd.Endpoint(), "--log-level", "warn",
	}})
	if err != nil {
		return err
	}
	client, err := etcd.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	p := &requests{plugin: plugin.New(h.Path("/run/docker/plugins/gvlan.sock"), 1), put: func(ctx context.Context, key string) error {
		_, err := client.Put(ctx, key, strings.Repeat("x", 200))
		return err
	}}
	if err := p.measure(ctx); err != nil {
		return err
	}
	rss, err := residentMB(filepath.Join("/proc", fmt.Sprint(agent.PID), "status"))
	if err != nil {
		return err
	}
	fmt.Printf("BENCH agent_rss_mb %.1f\n", rss)
	return nil
}

// residentMB reads VmRSS of proc(5), in units of a million bytes.
func residentMB(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib * 1024 / 1e6, nil
		}
	}
	return 0, fmt.Errorf("%s has no VmRSS", path)
}

// median of durations.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
