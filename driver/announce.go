package driver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/visible"
)

// Engines from API 1.48 (Docker 28.0) announce a container's IPv6 addresses
// themselves, three times, a second apart. Their ARP says 0.0.0.0 for every
// address that a plugin gave (libnetwork copies the first four of the sixteen
// bytes it holds; seen of 28.5.2), so the driver does the same for IPv4 on
// every engine, and for IPv6 on the older ones.
const (
	announceTimes = 3
	announceEvery = time.Second
	// announcePatience bounds the wait for Docker to bring the link up: a busy
	// host was seen to take more than half a minute.
	announcePatience = 3 * time.Minute
	selfAnnouncing   = 48 // minor version of API 1
)

// announcer tells the LAN where addresses are.
type announcer struct {
	mu      sync.Mutex
	v6      bool // the engine is known to leave IPv6 to the driver
	pending chan journal.Endpoint
}

func newAnnouncer() *announcer {
	return &announcer{pending: make(chan journal.Endpoint, 256)}
}

// learn takes the engine's API version over.
func (a *announcer) learn(api string) {
	_, minor, _ := strings.Cut(api, ".")
	n, err := strconv.Atoi(minor)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.v6 = err == nil && n < selfAnnouncing
}

// left returns which addresses the engine leaves to the driver to announce.
func (a *announcer) left(all []netip.Addr) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(all, func(addr netip.Addr) bool { return addr.Is6() && !a.v6 })
}

// joined queues an endpoint; a full queue drops it, since an announcement is
// a courtesy to caches.
func (a *announcer) joined(e journal.Endpoint) {
	select {
	case a.pending <- e:
	default:
	}
}

// announceJoined announces queued endpoints until ctx ends.
func (d *Driver) announceJoined(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-d.announcer.pending:
			running.Go(func() { d.announce(ctx, e) })
		}
	}
}

// announce waits until Docker brought the link up inside the sandbox, which
// older engines do after Join returned, and announces each address.
func (d *Driver) announce(ctx context.Context, e journal.Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, announcePatience)
	defer cancel()
	var failed error
	addresses := d.announcer.left(e.Addresses())
	if len(addresses) == 0 {
		return
	}
	for sent := 0; sent < announceTimes; {
		if now, known := d.state.Endpoint(e.ID); !known || now.Sandbox != e.Sandbox {
			return
		}
		wait := announceEvery / 10
		failed = netns.Do(d.cfg.OnHost(e.Sandbox), func() error { return announceHere(addresses) })
		if failed == nil {
			sent++
			wait = announceEvery
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && failed != nil {
				d.log.Warn("could not tell the LAN of a new address", "endpoint", visible.ID(e.ID), "error", failed)
			}
			return
		case <-time.After(wait):
		}
	}
}

// announceHere announces addresses in the calling thread's namespace.
func announceHere(addresses []netip.Addr) error {
	for _, addr := range addresses {
		name, err := holderOf(addr)
		if err != nil {
			return err
		}
		if err := link.Announce(name, addr); err != nil {
			return err
		}
	}
	return nil
}

// holderOf finds the interface that is up and has the address.
func holderOf(addr netip.Addr) (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		has, err := i.Addrs()
		if err != nil {
			return "", err
		}
		for _, h := range has {
			if p, err := netip.ParsePrefix(h.String()); err == nil && p.Addr().Unmap() == addr {
				return i.Name, nil
			}
		}
	}
	return "", link.ErrNotFound
}
