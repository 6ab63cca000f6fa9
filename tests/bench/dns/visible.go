package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"slices"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

const (
	visibleHosts  = 5
	visibleStarts = 40              // open loop, and as many in saturation
	visibleEvery  = 2 * time.Second // one start
	askEvery      = 2 * time.Millisecond
	listenerAddr  = "127.0.0.1:5354" // the default of --dns-listen
)

// visible measures how long after `docker run` returned a name is answered
// on every host, and how long after `docker stop` or `docker rm -f` returned
// it is answered on none: first with a start every two seconds whatever
// became of the ones before, then with every host starting one container
// after the other.
func visible() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	c, err := newCluster(ctx, visibleHosts)
	if err != nil {
		return err
	}
	defer c.Close()
	var open lives
	if err := open.openLoop(ctx, c); err != nil {
		return err
	}
	open.publish("")
	var busy lives
	if err := busy.saturate(ctx, c); err != nil {
		return err
	}
	busy.publish("_saturated")
	return nil
}

// lives are the containers measured so far.
type lives struct {
	mu      sync.Mutex
	appears []delay
	goes    []delay
}

// delay is how long the slowest host took to see one change.
type delay struct {
	took  time.Duration
	name  string
	of    *lab.Host // whose container it is
	last  *lab.Host // that saw it last
	means string    // the docker command
}

func (l *lives) openLoop(ctx context.Context, c *cluster) error {
	group, ctx := errgroup.WithContext(ctx)
	tick := time.NewTicker(visibleEvery)
	defer tick.Stop()
	for i := range visibleStarts {
		group.Go(func() error { return l.live(ctx, c, c.Hosts[i%len(c.Hosts)], i) })
		select {
		case <-tick.C:
		case <-ctx.Done():
			return group.Wait()
		}
	}
	return group.Wait()
}

func (l *lives) saturate(ctx context.Context, c *cluster) error {
	group, ctx := errgroup.WithContext(ctx)
	for first, h := range c.Hosts {
		group.Go(func() error {
			for i := first; i < visibleStarts; i += len(c.Hosts) {
				if err := l.live(ctx, c, h, visibleStarts+i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// live starts a container, waits until every host answers its name, ends it,
// and waits until none does.
func (l *lives) live(ctx context.Context, c *cluster, h *lab.Host, i int) error {
	name := fmt.Sprintf("web-%d", i)
	run := []string{"run", "-d", "--stop-signal", "KILL", "--network", network, "--name", name, "busybox", "sleep", "3600"}
	appeared, err := c.change(ctx, h, name, true, run...)
	if err != nil {
		return err
	}
	end := [][]string{{"stop", name}, {"rm", "-f", name}}[i/len(c.Hosts)%2]
	gone, err := c.change(ctx, h, name, false, end...)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appears, l.goes = append(l.appears, appeared), append(l.goes, gone)
	return nil
}

// change runs docker and waits from its return on until every host sees the
// container, or none does.
func (c *cluster) change(ctx context.Context, h *lab.Host, name string, there bool, docker ...string) (delay, error) {
	if _, err := h.Docker(ctx, docker...); err != nil {
		return delay{}, err
	}
	begin := time.Now()
	d := delay{name: name, of: h, means: docker[0]}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, asked := range c.Hosts {
		group.Go(func() error {
			if err := await(ctx, asked, name, there); err != nil {
				return fmt.Errorf("%s on %s: %w", name, asked.Name, err)
			}
			took := time.Since(begin)
			mu.Lock()
			defer mu.Unlock()
			if took > d.took {
				d.took, d.last = took, asked
			}
			return nil
		})
	}
	return d, group.Wait()
}

// await asks the listener of a host until it knows the name, or does not.
func await(ctx context.Context, h *lab.Host, name string, there bool) error {
	conn, err := h.DialContext(ctx, "udp", listenerAddr)
	if err != nil {
		return err
	}
	defer conn.Close()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		known, err := knows(conn, name)
		if err != nil {
			return err
		}
		if known == there {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// knows asks once.
func knows(conn net.Conn, name string) (bool, error) {
	m, err := exchange(conn, name+"."+network+".gvlan.internal", miekg.TypeA)
	if err != nil {
		return false, err
	}
	switch m.Rcode {
	case miekg.RcodeSuccess:
		return len(m.Answer) == 1, nil
	case miekg.RcodeNameError:
		return false, nil
	}
	return false, fmt.Errorf("it answers %s", miekg.RcodeToString[m.Rcode])
}

func (l *lives) publish(suffix string) {
	publishDelays("name_visible"+suffix, l.appears)
	publishDelays("name_gone"+suffix, l.goes)
}

// publishDelays reports percentiles by nearest rank: of a hundred or fewer
// the 99th is the worst, and which one that was is told.
func publishDelays(what string, delays []delay) {
	slices.SortFunc(delays, func(a, b delay) int { return cmp.Compare(a.took, b.took) })
	rank := func(percent int) delay { return delays[(len(delays)*percent+99)/100-1] }
	late := rank(99)
	log.Printf("%s: n = %d, the 99th percentile is docker %s of %s on %s (%s), seen last by %s",
		what, len(delays), late.means, late.name, late.of.Name, late.of.Engine.Release, late.last.Name)
	report(what+"_p50_ms", milliseconds(rank(50).took))
	report(what+"_p99_ms", milliseconds(late.took))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
