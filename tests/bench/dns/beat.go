package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	nsys "github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"

	"gvlan/dns/sandbox"
	"gvlan/dns/zone"
	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
)

// beat measures what an idle agent spends on keeping the resolvers of n
// sandboxes alive, and what opening them takes.
func beat(n int, span time.Duration) error {
	zone, err := zone.New(zone.Config{Node: node})
	if err != nil {
		return err
	}
	fill(zone, 100)
	sandboxes := sandbox.New(zone, netns.Do, slog.Default())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return sandboxes.Run(ctx) })
	var opening time.Duration
	before := heap()
	for i := range n {
		ns, err := newNamespace()
		if err != nil {
			return err
		}
		defer ns.Close()
		begin := time.Now()
		if err := sandboxes.Attach(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), fmt.Sprint(i), network); err != nil {
			return err
		}
		opening += time.Since(begin)
	}
	report("dns_sandbox_open_ms", float64(opening.Microseconds())/1000/float64(n))
	report(fmt.Sprintf("dns_sandbox_memory_kb_of_%d", n), float64(heap()-before)/1e3/float64(n))
	report(fmt.Sprintf("dns_goroutines_%d_sandboxes", n), float64(runtime.NumGoroutine()))
	spent, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	time.Sleep(span)
	now, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	report(fmt.Sprintf("dns_beat_cpu_ms_per_s_%d_sandboxes", n), float64((now-spent).Milliseconds())/span.Seconds())
	begin := time.Now()
	cancel()
	err = group.Wait()
	report(fmt.Sprintf("dns_stop_ms_%d_sandboxes", n), float64(time.Since(begin).Milliseconds()))
	return err
}

// newNamespace makes a network namespace whose loopback is up, as Docker
// leaves it.
func newNamespace() (*netns.Namespace, error) {
	ns, err := netnstest.New()
	if err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandleAt(nsys.NsHandle(ns.Fd()))
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	lo, err := handle.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	return ns, handle.LinkSetUp(lo)
}
