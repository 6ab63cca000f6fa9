package endpoint

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
)

// heedEvery is how often an interface is looked for that Docker brings into its
// container, and heedLater after the first seconds.
const (
	heedEvery = 10 * time.Millisecond
	heedLater = time.Second
)

// heeding is whose interface is yet to be told what it makes of router
// advertisements.
type heeding struct {
	mu      sync.Mutex
	pending []string // endpoints
	wake    chan struct{}
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
func (sb *Sandboxes) heed(life context.Context, endpoint string) {
	ctx, cancel := context.WithTimeout(life, announcePatience)
	defer cancel()
	began := time.Now()
	for {
		e, known := sb.Memory.Endpoint(endpoint)
		n, there := sb.Memory.Network(e.Network)
		if !known || !there || e.Sandbox == "" {
			return
		}
		settled := false
		err := netns.Do(sb.Cfg.OnHost(e.Sandbox), func() (err error) {
			settled, err = link.Heed(e.ID, n.Options.Advertised)
			return err
		})
		about := trouble.Matter{What: "ipv6-ra=" + string(n.Options.Advertised) + " in containers of network " + n.Title(), Of: n.ID}
		if settled && err == nil {
			sb.Troubles.Over(about)
			return
		}
		pause := heedEvery
		if time.Since(began) > heedLater {
			pause = heedLater
		}
		if store.Sleep(ctx, pause) {
			continue
		}
		if err != nil {
			sb.Troubles.Settle(life, about, fmt.Errorf("%s heeds router advertisements as its kernel does: %w", sb.Called(e.ID), err))
		}
		return
	}
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
