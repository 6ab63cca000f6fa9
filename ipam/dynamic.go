package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// leaseAny gives any free address. While the store is away it can only be
// one that this node itself gave up and the store does not know of yet.
func (a *Allocator) leaseAny(ctx context.Context, p opened, r AddressRequest) (netip.Prefix, error) {
	err := a.distrust()
	if err == nil {
		var prefix netip.Prefix
		if prefix, err = a.allocate(ctx, p, r); err == nil {
			return prefix, nil
		}
	}
	if errors.Is(err, store.ErrUnavailable) {
		if prefix, ok := a.reissueAny(ctx, p); ok {
			return prefix, nil
		}
	}
	return netip.Prefix{}, err
}

// allocate proposes candidates to the store until one is taken: from the
// mirrors, and once they offer nothing from a list that is true right now,
// because only that may say that the network is full.
func (a *Allocator) allocate(ctx context.Context, p opened, r AddressRequest) (netip.Prefix, error) {
	return a.allocateWith(ctx, p, r, func(v view, at pool.Place) (bool, error) { return a.takeDynamic(ctx, p, v, at) })
}

// allocateWith proposes candidates until take wins one.
func (a *Allocator) allocateWith(ctx context.Context, p opened, r AddressRequest, take func(view, pool.Place) (won bool, err error)) (netip.Prefix, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	views, err := a.views(p)
	if err != nil {
		return netip.Prefix{}, err
	}
	hosts, err := a.hostAddresses(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	n, _ := a.ledger.network(p.Network)
	pick := picker{a: a, views: views, hosts: hosts, settable: n.UUID != "", late: a.kept.in(p.parsed().Segment), own: a.kept.of(p, r), named: r.Options[pool.EndpointName] != ""}
	if !pick.ready() {
		if err := pick.list(ctx); err != nil {
			return netip.Prefix{}, err
		}
	}
	for {
		free, err := pick.free(ctx, p.Network)
		if err != nil {
			return netip.Prefix{}, err
		}
		won, err := take(free.view, free.at)
		free.release()
		if err != nil {
			return netip.Prefix{}, err
		}
		if won {
			return netip.PrefixFrom(free.at.Addr, free.view.subnet.Bits()), nil
		}
		pick.lost(free.at, free.view)
	}
}

func (a *Allocator) takeDynamic(ctx context.Context, p opened, v view, at pool.Place) (won bool, err error) {
	l, err := a.newLease(at, p, store.Dynamic)
	if err != nil {
		return false, err
	}
	l.Pool = v.pool
	found, won, err := a.take(ctx, l)
	if err == nil && !won && a.isUnknown(at, found) {
		a.suspectAt(at)
	}
	return won, err
}

// take is put for a lease that nobody has yet: when the reply is missing it
// is given back.
func (a *Allocator) take(ctx context.Context, l lease) (found store.Item, won bool, err error) {
	found, won, err = a.put(ctx, l, true)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		l.State = releasing
		err = errors.Join(a.unanswered(err), a.ledger.keep(l))
	case errors.Is(err, store.ErrSuspect):
		err = a.untrusted(err)
	}
	return found, won, err
}

// put makes the lease's key if it is absent. When it is not, found is what
// stands there. Gives tells that the address is given, not written again. The
// caller holds the place.
func (a *Allocator) put(ctx context.Context, l lease, gives bool) (found store.Item, won bool, err error) {
	key := l.place().Key()
	res, err := a.commit(ctx, store.Txn{
		Gives: gives,
		If:    []store.Cond{store.Absent(key)},
		Then:  []store.Op{store.Put(key, store.Encode(a.record(l)))},
		Else:  []store.Op{store.Get(key)},
	})
	if err != nil {
		return found, false, err
	}
	a.learn(l.place(), true, res.Revision)
	l.Created = res.Revision
	if !res.Done {
		found, _ = res.Item(key)
		// An earlier try of this very transaction may have made it.
		if l.Created = createdUnder(found, l.Nonce); l.Created == 0 {
			return found, false, nil
		}
	}
	return found, true, a.ledger.keep(l)
}

// unanswered is the sentence for a request that the store did not answer.
func (a *Allocator) unanswered(err error) error {
	return fmt.Errorf("no new address can be given now: %w", err)
}

// picker proposes the candidates of one request.
type picker struct {
	a     *Allocator
	views []view
	hosts *addrset.Set // what hosts have themselves
	// settable: the network has a definition, which `gvlan network set` changes.
	settable bool
	late     *addrset.Set // given last
	own      []Kept       // what whoever asks had before, tried first
	named    bool         // the engine said who asks
	// listed holds what a list of each view showed, once there was one; it
	// is used in place of the mirrors.
	listed []*addrset.Set
	// current is set while no candidate of the list was lost to somebody.
	current bool
	// settled is set once the store knows of this node's own releases.
	settled bool
}

func (c *picker) ready() bool {
	for _, v := range c.views {
		if !c.a.mirrors.Of(v.segment, v.subnet).IsReady() {
			return false
		}
	}
	return true
}

// free holds the place of a free address. It fails when the network is full.
func (c *picker) free(ctx context.Context, network string) (candidate, error) {
	if c.a.cautious() {
		return c.silent(ctx, network)
	}
	at, v, release, err := c.next(ctx)
	return candidate{at, v, release}, err
}

// offer holds the place of a candidate, if what is known offers one.
func (c *picker) offer() (at pool.Place, v view, release func(), ok bool, err error) {
	for _, spare := range []spare{{asked: true, resting: true}, {asked: true}, {}} {
		for i, v := range c.views {
			at, release, ok, err := c.choose(i, v, spare)
			if ok || err != nil {
				return at, v, release, ok, err
			}
		}
	}
	return pool.Place{}, view{}, nil, false, nil
}

// next is free without asking the LAN.
func (c *picker) next(ctx context.Context) (pool.Place, view, func(), error) {
	if at, v, release, ok, err := c.again(); ok || err != nil {
		return at, v, release, err
	}
	for {
		if at, v, release, ok, err := c.offer(); ok || err != nil {
			return at, v, release, err
		}
		if c.current && c.settled {
			return c.underWay(ctx)
		}
		c.a.settle(ctx)
		c.settled = true
		if err := c.list(ctx); err != nil {
			return pool.Place{}, view{}, nil, err
		}
	}
}

// underWay waits for the addresses that nobody has but that a call of this
// node is about, a release or a comparison, and holds the first that stays
// free: the network is full only when none does.
func (c *picker) underWay(ctx context.Context) (pool.Place, view, func(), error) {
	for i, v := range c.views {
		for {
			at, ok := c.a.ledger.chooseBusy(v.segment, func(own *addrset.Set) (netip.Addr, bool) {
				return addrset.Search(v.ranges, netip.Addr{}, []*addrset.Set{v.excluded, c.hosts, c.a.answering.of(v.segment), own, c.listed[i]})
			})
			if !ok {
				break
			}
			release, err := c.a.ledger.hold(ctx, at)
			if err != nil {
				return pool.Place{}, view{}, nil, err
			}
			if _, taken := c.a.ledger.lease(at); !taken {
				return at, v, release, nil
			}
			release()
			c.listed[i].Add(addrset.Single(at.Addr))
		}
	}
	return pool.Place{}, view{}, nil, c.exhausted()
}

// spare says which addresses are left for later.
type spare struct {
	asked   bool // those that stopped containers want again
	resting bool // those whose cooldown is not over
}

func (c *picker) choose(i int, v view, spare spare) (pool.Place, func(), bool, error) {
	m := c.a.mirrors.Of(v.segment, v.subnet)
	seed, err := c.a.seed(v, m)
	if err != nil {
		return pool.Place{}, nil, false, err
	}
	taken := []*addrset.Set{v.excluded, c.hosts, c.a.answering.of(v.segment)}
	if spare.asked {
		taken = append(taken, c.late)
	}
	if spare.resting && v.cooldown > 0 {
		taken = append(taken, m.Resting(v.cooldown))
	}
	at, release, ok := c.a.ledger.holdFree(v.segment, func(own ...*addrset.Set) (netip.Addr, bool) {
		taken := append(own, taken...)
		if c.listed != nil {
			return addrset.Search(v.ranges, seed, append(taken, c.listed[i]))
		}
		return m.Choose(v.ranges, seed, taken)
	})
	return at, release, ok, nil
}

// list reads what is taken, linearizably.
func (c *picker) list(ctx context.Context) error {
	c.listed = nil
	for _, v := range c.views {
		items, _, err := c.a.list(ctx, store.LeasesSpan(v.segment, v.subnet))
		if err != nil {
			return c.a.unanswered(err)
		}
		set := &addrset.Set{}
		set.Fill(mirror.AddressesOf(items))
		c.listed = append(c.listed, set)
	}
	c.current = true
	return nil
}

// lost notes that somebody else has the address.
func (c *picker) lost(at pool.Place, v view) {
	c.current = false
	c.a.mirrors.Of(v.segment, v.subnet).Meet()
	for _, set := range c.listed {
		set.Add(addrset.Single(at.Addr))
	}
}

// exhausted says what is full and what can be done: Docker changes no network
// that is there, and `gvlan network set` adds what a subnet has beside its
// ranges, to networks of the cluster.
func (c *picker) exhausted() error {
	var ranges []string
	cure := "remove a container, or make a network with a larger subnet"
	for _, v := range c.views {
		for _, r := range v.ranges {
			ranges = append(ranges, r.String())
			if c.settable && r.Bits() > v.subnet.Bits() {
				cure = "remove a container, or add another part of the subnet to the range (gvlan network set NAME range+=CIDR)"
			}
		}
	}
	return fmt.Errorf("every address of %s is taken, reserved, excluded or a host's own: %s", strings.Join(ranges, " and "), cure)
}
