package arp

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/driver/trouble"
)

// Network is a network of this host's engine that is listened for.
type Network struct {
	ID      string // the engine's
	Parent  string // the interface that it hangs from now
	Subnets []netip.Prefix
}

// Config is what Ears are made of; every field is needed.
type Config struct {
	// Networks are those that are listened for now; an error means that it is not
	// known.
	Networks func(context.Context) ([]Network, error)
	// Heard is told who uses which address on the LAN of a network; the MAC address
	// is its only as long as it runs.
	Heard    func(network string, addr netip.Addr, mac net.HardwareAddr)
	Troubles *trouble.Book
	Log      *slog.Logger
}

// Ears listen on the parents of this host's networks.
type Ears struct {
	cfg Config

	mu   sync.Mutex
	on   map[string]*ear // by interface
	kick chan struct{}   // has one element while somebody asked for a network that is new
}

// ear listens on one interface.
type ear struct {
	networks []Network
	cancel   context.CancelFunc
	begun    chan struct{} // closed when it hears
	ended    chan struct{}
}

// New listens nowhere until Run.
func New(cfg Config) *Ears {
	return &Ears{cfg: cfg, on: map[string]*ear{}, kick: make(chan struct{}, 1)}
}

// Listens reports whether what uses an address of a network is heard.
func (e *Ears) Listens(network string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.on {
		if one.listens() && slices.ContainsFunc(one.networks, func(n Network) bool { return n.ID == network }) {
			return true
		}
	}
	select {
	case e.kick <- struct{}{}:
	default:
	}
	return false
}

func (e *ear) listens() bool { return closed(e.begun) && !closed(e.ended) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// How often it is looked where to listen: sooner for a network that somebody asks
// for.
const (
	lookEvery = 10 * time.Second
	lookSoon  = 300 * time.Millisecond
)

// Run listens until ctx ends.
func (e *Ears) Run(ctx context.Context) error {
	defer e.replace(ctx, nil)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if networks, err := e.cfg.Networks(ctx); err == nil {
			e.replace(ctx, networks)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			continue
		case <-e.kick:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookSoon):
		}
	}
}

// replace listens for these networks, and for no others.
func (e *Ears) replace(ctx context.Context, networks []Network) {
	wanted := map[string][]Network{}
	for _, n := range networks {
		wanted[n.Parent] = append(wanted[n.Parent], n)
	}
	e.mu.Lock()
	have := maps.Clone(e.on)
	e.mu.Unlock()
	for ifname, one := range have {
		if closed(one.ended) || !slices.EqualFunc(one.networks, wanted[ifname], same) {
			one.cancel()
			<-one.ended
			e.mu.Lock()
			delete(e.on, ifname)
			e.mu.Unlock()
			if len(wanted[ifname]) == 0 {
				e.cfg.Troubles.Over(listening(ifname))
			}
			continue
		}
		delete(wanted, ifname)
	}
	for ifname, some := range wanted {
		e.listen(ctx, ifname, some)
	}
}

func same(a, b Network) bool {
	return a.ID == b.ID && a.Parent == b.Parent && slices.Equal(a.Subnets, b.Subnets)
}

// listening is what fails on an interface that cannot be listened on.
func listening(ifname string) trouble.Matter {
	return trouble.Matter{What: "listening on " + ifname + " for who uses addresses", Then: "that somebody else begins to use one is noticed late, or by other hosts"}
}

// listen begins to on one interface.
func (e *Ears) listen(ctx context.Context, ifname string, networks []Network) {
	ctx, cancel := context.WithCancel(ctx)
	one := &ear{networks: networks, cancel: cancel, begun: make(chan struct{}), ended: make(chan struct{})}
	var subnets []netip.Prefix
	for _, n := range networks {
		subnets = append(subnets, n.Subnets...)
	}
	about := listening(ifname)
	go func() {
		defer close(one.ended)
		begun := func() {
			close(one.begun)
			e.cfg.Troubles.Over(about)
		}
		err := Listen(ctx, ifname, subnets, begun, func(addr netip.Addr, mac net.HardwareAddr) { e.heard(networks, addr, mac) })
		if ctx.Err() == nil && err != nil {
			e.cfg.Troubles.Tell(about, err)
		}
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on[ifname] = one
}

func (e *Ears) heard(networks []Network, addr netip.Addr, mac net.HardwareAddr) {
	for _, n := range networks {
		if slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			e.cfg.Heard(n.ID, addr, mac)
		}
	}
}
