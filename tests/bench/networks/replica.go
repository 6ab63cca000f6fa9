package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"gvlan/driver/engine"
	"gvlan/tests/lab"
)

// seen collects when each engine said that it has a network.
type seen struct {
	mu    sync.Mutex
	at    map[string]map[string]time.Time // by network name and host
	fresh chan struct{}
	// following has a host as soon as its events are followed.
	following chan string
}

// note takes an event of a host's engine.
func (s *seen) note(host string, ev engine.Event) {
	if ev.Kind == engine.KindStream && ev.Action == engine.ActionConnected {
		s.following <- host
	}
	if ev.Kind != engine.KindNetwork || ev.Action != engine.ActionCreate {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := ev.Attributes["name"]
	if s.at[name] == nil {
		s.at[name] = map[string]time.Time{}
	}
	if _, twice := s.at[name][host]; !twice {
		s.at[name][host] = ev.Time
	}
	select {
	case s.fresh <- struct{}{}:
	default:
	}
}

// everywhere waits until that many engines have the network, and says when
// each did.
func (s *seen) everywhere(ctx context.Context, name string, hosts int) (map[string]time.Time, error) {
	for {
		s.mu.Lock()
		at := s.at[name]
		done := len(at) == hosts
		s.mu.Unlock()
		if done {
			return at, nil
		}
		select {
		case <-s.fresh:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for network %s: %w", name, ctx.Err())
		}
	}
}

// replicas makes networks one after the other, on each host in turn, and
// measures by the engines' own events how much later the other hosts have
// them. All engines share this machine's clock.
func replicas(ctx context.Context, release lab.Release, hosts, networks int) error {
	c, err := up(ctx, release, hosts)
	if err != nil {
		return err
	}
	defer c.Close()
	s := &seen{at: map[string]map[string]time.Time{}, fresh: make(chan struct{}, 1), following: make(chan string, 2*hosts)}
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	for _, h := range c.Hosts {
		if _, err := c.agent(ctx, h); err != nil {
			return err
		}
		if err := c.await(ctx, h, trusted); err != nil {
			return err
		}
		e, err := engine.New(engine.Config{Socket: h.Engine.Socket()})
		if err != nil {
			return err
		}
		defer e.Close()
		watches.Go(func() { _ = e.Watch(watching, func(ev engine.Event) { s.note(h.Name, ev) }) })
	}
	for range hosts {
		<-s.following
	}
	var waits []time.Duration
	for i := range networks {
		maker := c.Hosts[i%hosts]
		name := fmt.Sprintf("lan%d", i)
		_, err := maker.Docker(ctx, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
			"--subnet", fmt.Sprintf("10.60.%d.0/24", i), "-o", "parent=eth1", name)
		if err != nil {
			return err
		}
		at, err := s.everywhere(ctx, name, hosts)
		if err != nil {
			return err
		}
		for host, when := range at {
			if host != maker.Name {
				waits = append(waits, when.Sub(at[maker.Name]))
			}
		}
	}
	slices.Sort(waits)
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("%d hosts, %d networks, %d replicas\n", hosts, networks, len(waits))
	report("replica_p50_ms", milliseconds(waits[len(waits)/2]))
	report("replica_p99_ms", milliseconds(waits[len(waits)*99/100]))
	report("replica_max_ms", milliseconds(waits[len(waits)-1]))
	return nil
}
