package endpoint

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/visible"
)

// heedEvery is how often an interface is looked for that Docker brings into its
// container, and heedLater after the first second until announcePatience is over.
const (
	heedEvery = 10 * time.Millisecond
	heedLater = time.Second
)

// heedRarely is how often after that.
const heedRarely = 10 * time.Second

// heeding is whose interface is yet to be told what it makes of router
// advertisements.
type heeding struct {
	mu      sync.Mutex
	pending []string // endpoints
	wake    chan struct{}
	failing map[string]unheeded // by endpoint
}

// unheeded is an interface that does not heed its network's -o ipv6-ra=.
type unheeded struct {
	sandbox string
	why     error
	since   time.Time
	told    bool // in the log
}

func (h *heeding) add(endpoint string) {
	h.mu.Lock()
	h.pending = append(h.pending, endpoint)
	h.mu.Unlock()
	host.Tell(h.wake)
}

func (h *heeding) drain() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.pending
	h.pending = nil
	return all
}

// fails notes why an interface does not heed it, and reports whether that has to be
// logged now: once, when it lasts.
func (h *heeding) fails(endpoint, sandbox string, why error, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	u, had := h.failing[endpoint]
	if !had || u.sandbox != sandbox {
		u = unheeded{sandbox: sandbox, since: now}
	}
	u.why = why
	news := !u.told && u.lasts(now)
	u.told = u.told || news
	h.failing[endpoint] = u
	return news
}

// over forgets that, and reports whether it was logged.
func (h *heeding) over(endpoint string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.failing[endpoint].told
	delete(h.failing, endpoint)
	return told
}

// unheededFor is how long an interface may take: Docker brings it in meanwhile.
const unheededFor = 30 * time.Second

func (u unheeded) lasts(now time.Time) bool { return now.Sub(u.since) >= unheededFor }

// HeedJoined has the interfaces of networks with -o ipv6-ra= do as that says,
// until ctx ends. A link loses every such setting on its way into the
// container, so it is done once it is there, beside Docker: no container waits
// for it, and what it learnt before is taken away.
func (sb *Sandboxes) HeedJoined(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		for _, id := range sb.heeding.drain() {
			running.Go(func() { sb.heed(ctx, id) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sb.heeding.wake:
		}
	}
}

// heed waits until the interface is up in its container, and has it heed router
// advertisements or not from when it is there.
func (sb *Sandboxes) heed(ctx context.Context, endpoint string) {
	began := time.Now()
	for {
		e, known := sb.Memory.Endpoint(endpoint)
		n, there := sb.Memory.Network(e.Network)
		if !known || !there || e.Sandbox == "" {
			sb.heeding.over(endpoint)
			return
		}
		settled := false
		err := netns.Do(sb.Cfg.OnHost(e.Sandbox), func() (err error) {
			settled, err = link.Heed(e.ID, n.Options.Advertised)
			return err
		})
		if settled && err == nil {
			if sb.heeding.over(endpoint) {
				sb.Log.Info("router advertisements are heeded as the network says, after all", "endpoint", visible.ID(endpoint))
			}
			return
		}
		if err != nil && sb.heeding.fails(endpoint, e.Sandbox, err, sb.Now()) {
			sb.Log.Warn(sb.unheeded(n, endpoint, err))
		}
		pause := heedEvery
		switch lasts := time.Since(began); {
		case lasts > announcePatience:
			pause = heedRarely
		case lasts > heedLater:
			pause = heedLater
		}
		if !store.Sleep(ctx, pause) {
			return
		}
	}
}

// Unheeded are sentences about containers that heed router advertisements
// otherwise than their network says.
func (sb *Sandboxes) Unheeded() (all []string) {
	sb.heeding.mu.Lock()
	failing := maps.Clone(sb.heeding.failing)
	sb.heeding.mu.Unlock()
	for endpoint, u := range failing {
		e, known := sb.Memory.Endpoint(endpoint)
		n, there := sb.Memory.Network(e.Network)
		if known && there && e.Sandbox == u.sandbox && u.lasts(sb.Now()) {
			all = append(all, sb.unheeded(n, endpoint, u.why))
		}
	}
	slices.Sort(all)
	return all
}

func (sb *Sandboxes) unheeded(n journal.Network, endpoint string, why error) string {
	return fmt.Sprintf("network %s: ipv6-ra=%s cannot be set in %s, and is tried again: %v; until then it heeds the LAN's routers as its kernel does", n.Title(), n.Options.Advertised, sb.Called(endpoint), why)
}

// Learnt are the addresses that this host's containers made of router
// advertisements, which nobody leased, by endpoint.
func (sb *Sandboxes) Learnt(ctx context.Context) map[string][]netip.Prefix {
	all := map[string][]netip.Prefix{}
	for _, e := range sb.Memory.Endpoints() {
		if ctx.Err() != nil || e.Sandbox == "" || !e.IPv6.IsValid() {
			continue
		}
		err := netns.Do(sb.Cfg.OnHost(e.Sandbox), func() error {
			found, err := link.Learnt(e.ID)
			if len(found) > 0 {
				all[e.ID] = found
			}
			return err
		})
		if err != nil {
			sb.Log.Debug("learnt addresses of a container are not known", "endpoint", visible.ID(e.ID), "err", err)
		}
	}
	return all
}

// heeds reports whether an endpoint's interface has to be told.
func heeds(n journal.Network, e journal.Endpoint) bool {
	return n.Options.Advertised != "" && e.IPv6.IsValid() && e.Sandbox != ""
}
