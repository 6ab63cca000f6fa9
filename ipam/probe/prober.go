package probe

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/trouble"
	"gvlan/ipam/addrset"
	"gvlan/ipam/conflict"
	"gvlan/ipam/pool"
)

// Config is what a Prober is made of; every field is needed but Answers.
type Config struct {
	KV        store.KV
	Conflicts *conflict.Conflicts
	Answers   conflict.Answers // nil: nobody is ever asked
	// Listens reports whether this host hears who begins to use an address on the
	// LAN of a network.
	Listens func(network string) bool
	// Networks are this host's that addresses are asked for on.
	Networks func() []conflict.Pool
	// Next are the addresses that a network would give next, so many of each family;
	// known is false where that is not known yet.
	Next func(network string, most int) (families [][]pool.Place, known bool)
	// Name is what people call a network.
	Name func(network string) string
	// Own says whose of the cluster's a MAC address is; "" for nobody's.
	Own      func(at pool.Place, mac net.HardwareAddr) string
	Troubles *trouble.Book
	Now      func() time.Time
	Log      *slog.Logger
}

// Prober asks the LANs of this host's networks.
type Prober struct {
	cfg   Config
	stock *stock

	mu     sync.Mutex
	wanted map[string]bool         // networks whose stock is to be looked at
	given  map[string][]pool.Place // by network: what its containers here were given
	kick   chan struct{}
}

// New asks nobody until Run, or until an address is wanted.
func New(cfg Config) *Prober {
	return &Prober{cfg: cfg, stock: newStock(cfg.Now, cfg.Listens), wanted: map[string]bool{}, given: map[string][]pool.Place{}, kick: make(chan struct{}, 1)}
}

// Asks reports whether anybody is ever asked.
func (p *Prober) Asks() bool { return p.cfg.Answers != nil }

// Fresh reports whether nobody on the LAN answered for an address lately.
func (p *Prober) Fresh(network string, at pool.Place) bool { return p.stock.fresh(network, at) }

// Of are the addresses of a network that nobody answered for lately, the lowest
// first.
func (p *Prober) Of(network string) []pool.Place { return p.stock.of(network) }

// Answering are the addresses of a segment that somebody answered for a moment
// ago, and that have no record for it.
func (p *Prober) Answering(segment string) *addrset.Set {
	if !p.Asks() {
		return &addrset.Set{}
	}
	return p.stock.answering(segment)
}

// Left notes that a container of this host gave an address back: while it had it
// nobody else was heard there, or it is asked for again.
func (p *Prober) Left(network string, at pool.Place) {
	switch {
	case !p.Asks():
	case p.cfg.Conflicts.Claimed(at):
		p.Doubt(at)
	case p.cfg.Listens(network):
		p.stock.enter(network, []pool.Place{at})
	}
}

// Given has an address that a container of this host has from now on asked for
// once more: whoever took it without a word while it was in stock was not heard.
func (p *Prober) Given(network string, at pool.Place) {
	if !p.Asks() || network == "" {
		return
	}
	p.mu.Lock()
	if len(p.given[network]) < mostSilent {
		p.given[network] = append(p.given[network], at)
	}
	p.mu.Unlock()
	p.Want(network)
}

// Want has the stock of a network looked at.
func (p *Prober) Want(network string) {
	if !p.Asks() || network == "" {
		return
	}
	p.want(network)
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *Prober) want(network string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted[network] = true
}

// Heard notes that somebody on the LAN of a network was heard who uses an address,
// for which nobody had answered: it is asked for.
func (p *Prober) Heard(network string, a Answer) {
	p.stock.note(network, a.At, []net.HardwareAddr{a.MAC})
	p.Want(network)
}

// Doubt notes that somebody was heard who uses an address of a container's: whoever is
// to have it afterwards asks first.
func (p *Prober) Doubt(at pool.Place) { p.stock.doubt(at) }

// asking is what fails where a LAN cannot be asked.
func asking(network string) trouble.Matter {
	return trouble.Matter{What: "asking the LAN before addresses are given", Of: network, Then: "they are given without, and who else has one is not noticed"}
}

// Ask asks in a hurry for those addresses that are not in stock, and returns who
// answered for which. Where nobody can be asked, nobody has answered: a network
// whose parent is down gives addresses all the same.
func (p *Prober) Ask(ctx context.Context, of conflict.Pool, all []pool.Place) map[pool.Place]net.HardwareAddr {
	unknown := slices.DeleteFunc(slices.Clone(all), func(at pool.Place) bool { return p.stock.fresh(of.ID, at) })
	if len(unknown) == 0 {
		return nil
	}
	found, err := p.answers(ctx, of, unknown, conflict.Brief)
	if err != nil {
		return nil
	}
	if len(found) > 0 {
		p.Want(of.ID)
	}
	return found
}

// Recheck asks once more for those that somebody was heard to use and no record tells
// of, before a network is said to be full for their sake, and reports whether one of
// them is silent: a frame of a container may be read after its lease has ended.
func (p *Prober) Recheck(ctx context.Context, of conflict.Pool) (silent bool) {
	if !p.Asks() {
		return false
	}
	suspects := p.stock.unsettled(of.ID)
	if len(suspects) == 0 {
		return false
	}
	found, err := p.answers(ctx, of, suspects, conflict.Brief)
	return err == nil && len(found) < len(suspects)
}

// answers asks for addresses, enters what it learns, and returns who answered:
// those who are believed.
func (p *Prober) answers(ctx context.Context, of conflict.Pool, all []pool.Place, patience time.Duration) (map[pool.Place]net.HardwareAddr, error) {
	var addrs []netip.Addr
	for _, at := range all {
		addrs = append(addrs, at.Addr)
	}
	answers, err := p.cfg.Answers(ctx, of.ID, addrs, patience)
	p.cfg.Troubles.Settle(ctx, asking(of.ID), err)
	if err != nil {
		return nil, err
	}
	found := map[pool.Place]net.HardwareAddr{}
	var silent []pool.Place
	for _, at := range all {
		by := answers[at.Addr]
		if len(by) > 0 {
			if mac, believed := p.cfg.Conflicts.Believes(at, by, of, p.stock.pending()); believed {
				p.stock.note(of.ID, at, by)
				found[at] = mac
				continue
			}
		}
		silent = append(silent, at)
	}
	p.stock.enter(of.ID, silent)
	return found, nil
}

const (
	// lookEvery is how often every network's stock is looked at unasked.
	lookEvery = time.Minute
	// lookAgain is how soon it is looked again at those of which it is not known yet
	// what they give next.
	lookAgain = 200 * time.Millisecond
	// lookSeldom bounds how seldom that is, while it stays unknown.
	lookSeldom = 5 * time.Second
	// together is on how many networks it is asked at once.
	together = 8
)

// Run keeps the stocks until ctx ends.
func (p *Prober) Run(ctx context.Context) error {
	if !p.Asks() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	pause := lookAgain
	for all := true; ; {
		var soon <-chan time.Time
		if p.look(ctx, all) {
			pause = lookAgain
		} else {
			soon, pause = time.After(pause), min(2*pause, lookSeldom)
		}
		all = false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			all = true
		case <-soon:
		case <-p.kick:
		}
	}
}

// look fills the stocks of those networks that were asked for, or of all, and
// reports whether it could.
func (p *Prober) look(ctx context.Context, all bool) (done bool) {
	p.mu.Lock()
	wanted := p.wanted
	given := p.given
	p.wanted, p.given = map[string]bool{}, map[string][]pool.Place{}
	p.mu.Unlock()
	known := map[string]bool{}
	var unready atomic.Bool
	var asking errgroup.Group
	asking.SetLimit(together)
	for _, of := range p.cfg.Networks() {
		if known[of.ID] = true; all || wanted[of.ID] {
			asking.Go(func() error {
				p.confirm(ctx, of, given[of.ID])
				if !p.fill(ctx, of) {
					unready.Store(true)
					p.want(of.ID)
				}
				return nil
			})
		}
	}
	_ = asking.Wait()
	p.stock.forget(func(network string) bool { return known[network] })
	return !unready.Load()
}

// confirm asks who else has what containers of this host were given. They do not
// answer their own host, and who of the cluster's does is known.
func (p *Prober) confirm(ctx context.Context, of conflict.Pool, given []pool.Place) {
	var addrs []netip.Addr
	for _, at := range given {
		addrs = append(addrs, at.Addr)
	}
	if len(addrs) == 0 {
		return
	}
	answers, err := p.cfg.Answers(ctx, of.ID, addrs, conflict.Brief)
	if err != nil {
		return // as is told of what is asked for ahead
	}
	for _, at := range given {
		for _, mac := range answers[at.Addr] {
			p.cfg.Conflicts.Beside(at, mac)
			p.Doubt(at)
		}
	}
}

// fill asks for what a network gives next, once that is worth a question, and
// settles what was answered. It reports whether it is known what that is.
func (p *Prober) fill(ctx context.Context, of conflict.Pool) (known bool) {
	families, known := p.cfg.Next(of.ID, Stocked)
	var due []pool.Place
	for _, next := range families {
		old := slices.DeleteFunc(slices.Clone(next), func(at pool.Place) bool { return !p.stock.aging(of.ID, at) })
		if len(old) > len(next)/2 || len(old) > 0 && !p.stock.fresh(of.ID, next[0]) {
			due = append(due, old...)
		}
	}
	if len(due) > 0 {
		if _, err := p.answers(ctx, of, due, conflict.Patient); err != nil {
			return known
		}
	}
	if suspects := p.stock.unsettled(of.ID); len(suspects) > 0 {
		if err := p.settle(ctx, of, suspects); err != nil && ctx.Err() == nil {
			p.cfg.Log.Warn("addresses that answer on the LAN are not given on this host, and other hosts are not told", "network", of.Network, "err", err)
		}
	}
	return known
}

// settle tells the store of addresses that somebody answered for. A container that
// left one is gone before its lease is: so each is asked for once more after the
// store was seen to have nothing of it.
func (p *Prober) settle(ctx context.Context, of conflict.Pool, suspects []pool.Place) error {
	free := slices.Clone(suspects[:0:0])
	for _, at := range suspects {
		_, err := p.cfg.KV.Get(ctx, store.LeaseKey(at.Segment, at.Addr))
		switch {
		case errors.Is(err, store.ErrNotFound):
			free = append(free, at)
		case err != nil:
			return err
		default:
			p.stock.settle(at, true) // it is somebody's by right
		}
	}
	if len(free) == 0 {
		return nil
	}
	found, err := p.answers(ctx, of, free, conflict.Brief)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return nil
	}
	hosts, err := p.cfg.Conflicts.HostMACs(ctx)
	if err != nil {
		return err
	}
	for _, at := range slices.SortedFunc(maps.Keys(found), func(a, b pool.Place) int { return a.Addr.Compare(b.Addr) }) {
		mac := found[at]
		if whose := p.cfg.Own(at, mac); whose != "" {
			p.cfg.Log.Warn("a free address answers on the LAN, by a container that has no right to it: it is not given on this host for a while; see gvlan audit --lan",
				"address", at.Addr, "segment", at.Segment, "mac", mac, "of", whose)
			p.stock.settle(at, false)
			continue
		}
		if hosts[mac.String()] { // a container on ipvlan that a host still has, or one of its own other interfaces
			p.stock.settle(at, false)
			continue
		}
		if _, believed := p.cfg.Conflicts.Believes(at, []net.HardwareAddr{mac}, of, nil); !believed {
			p.stock.enter(of.ID, []pool.Place{at}) // others of this look came before it
			continue
		}
		if _, err := p.cfg.Conflicts.Take(ctx, conflict.Found{At: at, MAC: mac, Network: p.cfg.Name(of.ID)}); err != nil {
			return err
		}
		p.stock.settle(at, true)
	}
	return nil
}
