package swarm_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

// guard looks all the time whether an address has two holders: in etcd's
// whole history of every lease, and on the LAN by replies per probe.
type guard struct {
	c    *cluster
	stop context.CancelFunc
	wait sync.WaitGroup

	mu       sync.Mutex
	bound    map[netip.Addr]string // endpoint by address, now
	doubled  []string
	answered int // probes with one answer
	changes  int // bindings seen in etcd
}

// guard begins to look, until the test ends.
func (c *cluster) guard() *guard {
	c.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	g := &guard{c: c, stop: stop, bound: map[netip.Addr]string{}}
	span := store.AllLeasesSpan()
	events := c.store.Watch(ctx, prefix+span.From, clientv3.WithRange(prefix+span.To), clientv3.WithRev(1), clientv3.WithPrevKV())
	g.wait.Go(func() { g.follow(events) })
	g.wait.Go(func() { g.probe(ctx) })
	c.t.Cleanup(func() { stop(); g.wait.Wait() })
	return g
}

// follow reads every change of every lease.
func (g *guard) follow(events clientv3.WatchChan) {
	for answer := range events {
		for _, ev := range answer.Events {
			g.note(ev)
		}
	}
}

// note checks one change: an endpoint that has an address gives it up before
// another has it.
func (g *guard) note(ev *clientv3.Event) {
	var now, before lease
	var err error
	if ev.Type == clientv3.EventTypePut {
		now, err = readLease(ev.Kv.Key, ev.Kv.Value)
	}
	if err == nil && ev.PrevKv != nil {
		before, err = readLease(ev.PrevKv.Key, ev.PrevKv.Value)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil:
		g.doubled = append(g.doubled, err.Error())
	case before.Endpoint != "" && now.Endpoint != "" && before.Endpoint != now.Endpoint:
		g.doubled = append(g.doubled, fmt.Sprintf("%s went from endpoint %.12s to %.12s without being free", now.addr, before.Endpoint, now.Endpoint))
	}
	if now.Endpoint == "" {
		delete(g.bound, before.addr)
		return
	}
	g.bound[now.addr] = now.Endpoint
	g.changes++
}

// probe asks the LAN about every address that is bound, over and over, a few
// at once.
func (g *guard) probe(ctx context.Context) {
	for ctx.Err() == nil {
		g.mu.Lock()
		addrs := slices.Collect(maps.Keys(g.bound))
		g.mu.Unlock()
		for some := range slices.Chunk(addrs, 6) {
			g.askAll(ctx, some)
		}
		if len(addrs) == 0 {
			g.ask(ctx, netip.MustParseAddr("10.88.0.250")) // nobody's: it only takes its time
		}
	}
}

func (g *guard) askAll(ctx context.Context, addrs []netip.Addr) {
	g.c.probing.Lock()
	defer g.c.probing.Unlock()
	var asked sync.WaitGroup
	for _, addr := range addrs {
		asked.Go(func() { g.ask(ctx, addr) })
	}
	asked.Wait()
}

func (g *guard) ask(ctx context.Context, addr netip.Addr) {
	answers, err := g.c.WhoHas(ctx, addr)
	if ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil:
		g.doubled = append(g.doubled, err.Error())
	case len(answers) == 1:
		g.answered++
	case len(answers) > 1:
		g.doubled = append(g.doubled, fmt.Sprintf("one probe for %s got %v", addr, answers))
	}
}

// sees waits until a double holder was seen.
func (g *guard) sees(t *testing.T) {
	t.Helper()
	eventually(t, "the guard to see a double holder", func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.doubled) == 0 {
			return fmt.Errorf("%d probes, all with one holder", g.answered)
		}
		return nil
	})
}

// forget ends a double holder, while no probe is under way that saw it, and
// what was seen of it.
func (g *guard) forget(end func()) {
	g.c.probing.Lock()
	defer g.c.probing.Unlock()
	end()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubled = nil
}

// end reports what was seen, and begins anew.
func (g *guard) end(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, what := range g.doubled {
		t.Error(what)
	}
	if g.answered == 0 || g.changes == 0 {
		t.Errorf("the guard saw %d answers and %d bindings, want some", g.answered, g.changes)
	}
	t.Logf("%d bindings in etcd, %d probes with one answer", g.changes, g.answered)
	g.doubled = nil
}
