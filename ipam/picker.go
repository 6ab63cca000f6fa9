package ipam

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/conflict"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/wanted"
)

// For a while after a recovery the store may not know of a container whose host
// was left out of it. So the LAN is asked before an address is given: what
// answers there is not.

// askedAtOnce is how many candidates the LAN is asked for at a time: an answer
// is waited for 1.5 s, and a call has 4.
const askedAtOnce = 8

// answering are the addresses that were heard on the LAN since the caution
// began.
type answering struct {
	mu    sync.Mutex
	heard map[string]*addrset.Set // by segment; a set is replaced, never changed
}

// of returns the addresses of a segment that answered.
func (s *answering) of(segment string) *addrset.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.heard[segment]; set != nil {
		return set
	}
	return &addrset.Set{}
}

func (s *answering) add(segment string, addrs []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard = map[string]*addrset.Set{}
	}
	set := &addrset.Set{}
	if had := s.heard[segment]; had != nil {
		set = had.Clone()
	}
	for _, addr := range addrs {
		set.Add(addrset.Single(addr))
	}
	s.heard[segment] = set
}

func (s *answering) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.heard)
}

// cautious reports whether the LAN is to be asked.
func (rq *requests) cautious() bool {
	if rq.Ask == nil {
		return false
	}
	if rq.Self.Cautious() {
		return true
	}
	rq.answering.forget()
	return false
}

// candidate is an address that is free as far as the store knows. Its place is
// held.
type candidate struct {
	at      pool.Place
	view    view
	release func()
	kept    store.Revision // at which it is reserved for who asks; 0: it is not
}

// silent holds the place of a free address that nobody answers for on the LAN.
func (c *picker) silent(ctx context.Context) (candidate, error) {
	for {
		first, err := c.next(ctx)
		if err != nil {
			return candidate{}, err
		}
		some := c.upTo(askedAtOnce, first)
		addrs := make([]netip.Addr, len(some))
		for i, one := range some {
			addrs[i] = one.at.Addr
		}
		heard, err := c.a.askLAN(ctx, c.network, some[0].at.Segment, addrs)
		chosen := candidate{}
		for _, one := range some {
			if err == nil && chosen.release == nil && !heard.Has(one.at.Addr) {
				chosen = one
				continue
			}
			one.release()
		}
		if err != nil || chosen.release != nil {
			return chosen, err
		}
	}
}

// askLAN asks for addresses and returns all of the segment that ever answered.
// Where nobody can be asked, nobody is: a network without a parent has no LAN.
func (rq *requests) askLAN(ctx context.Context, network, segment string, addrs []netip.Addr) (*addrset.Set, error) {
	found, err := rq.Ask(ctx, network, addrs)
	switch {
	case ctx.Err() != nil:
		return nil, rq.Unanswered(fmt.Errorf("%w: the LAN was still being asked, as is done for a while after a recovery", store.ErrUnavailable))
	case err != nil:
		rq.Log.Warn("an address is given without asking the LAN first, as is done for a while after a recovery", "network", node.Short(network), "err", err)
	case len(found) > 0:
		rq.Log.Warn("addresses that the store has for free answer on the LAN: they are not given", "addresses", found, "segment", segment)
		rq.answering.add(segment, found)
	}
	return rq.answering.of(segment), nil
}

// checkSilent refuses an explicit address that answers on the LAN and that the
// store has for free: of one that it has not, it says more.
func (rq *requests) checkSilent(ctx context.Context, p journal.Pool, at pool.Place) error {
	if !rq.cautious() {
		return rq.lan().checkUnused(ctx, p, at)
	}
	if it, err := rq.Read(ctx, at.Key()); err != nil || it.Created != 0 {
		return nil // as the transaction finds
	}
	heard, err := rq.askLAN(ctx, p.Network, at.Segment, []netip.Addr{at.Addr})
	if err != nil {
		return err
	}
	if heard.Has(at.Addr) {
		return fmt.Errorf("address %s answers on the LAN, though the store has it for free: a container that was not there for the cluster's recovery has it, or another machine", at.Addr)
	}
	return nil
}

func (rq *requests) lan() asker { return asker{rq} }

// checkUnused refuses an explicit address that somebody on the LAN answers for,
// where the store has it for free.
func (rq asker) checkUnused(ctx context.Context, p journal.Pool, at pool.Place) error {
	n, _ := rq.Memory.Addressing(p.Network)
	v, err := viewOf(p, n)
	if err != nil || !rq.asksFor(v) || rq.prober.Fresh(p.Network, at) {
		return nil
	}
	if it, err := rq.Read(ctx, at.Key()); err != nil || it.Created != 0 {
		return nil // as the transaction finds
	}
	views := []view{v}
	if mac, answered := rq.prober.Ask(ctx, rq.onLAN(p.Network, views), []pool.Place{at})[at]; answered {
		return fmt.Errorf("address %s is in use on the LAN by %s: give another one, or that machine another address", at.Addr, rq.macInWords(at, mac))
	}
	return nil
}

// macInWords is a MAC address with who made it, or whose of the cluster's it is.
func (rq asker) macInWords(at pool.Place, mac net.HardwareAddr) string {
	if vendor := rq.Vendor(mac); vendor != "" {
		return fmt.Sprintf("MAC %s (%s)", mac, vendor)
	}
	return "MAC " + mac.String()
}

// Else the LAN is asked too (probe=), but for what is in the stock of addresses
// that nobody answered for lately.

// asker is what requests ask the LAN for, and the prober asks ahead.
type asker struct{ *requests }

// asksFor reports whether the LAN is asked for addresses of a view first.
func (rq asker) asksFor(v view) bool { return v.probe && rq.prober.Asks() }

// onLAN is what an address of a network is asked for by.
func (rq asker) onLAN(network string, views []view) conflict.Pool {
	of := conflict.Pool{ID: network, Network: rq.nameOf(network)}
	for _, v := range views {
		of.Segment, of.Ranges, of.Subnets = v.segment, append(of.Ranges, v.ranges...), append(of.Subnets, v.subnet)
	}
	return of
}

// nameOf is what people call a network.
func (rq asker) nameOf(network string) string {
	n, _ := rq.Memory.Addressing(network)
	return n.Name
}

// viewsOf are those of each family of a network that asks the LAN.
func (rq asker) viewsOf(network string) (all [][]view) {
	families := map[bool]bool{}
	for _, p := range rq.Memory.Pools(func(p journal.Pool) bool { return p.Network == network && !p.Closed && !p.ByManager() }) {
		v6 := p.Parsed.Subnet.Addr().Is6()
		if families[v6] {
			continue
		}
		families[v6] = true
		if views, err := rq.views(p); err == nil && len(views) > 0 && rq.asksFor(views[0]) {
			all = append(all, views)
		}
	}
	return all
}

// poolsOnLAN are the networks of this host that ask the LAN.
func (rq asker) poolsOnLAN() (all []conflict.Pool) {
	for _, network := range rq.pools.Joined() {
		if views := rq.viewsOf(network); len(views) > 0 {
			all = append(all, rq.onLAN(network, slices.Concat(views...)))
		}
	}
	return all
}

// poolOnLAN is one of them that has an address.
func (rq asker) poolOnLAN(at pool.Place) (of conflict.Pool, found bool) {
	for _, network := range rq.pools.Joined() {
		for _, views := range rq.viewsOf(network) {
			if slices.ContainsFunc(views, func(v view) bool { return v.segment == at.Segment && v.subnet.Contains(at.Addr) }) {
				return rq.onLAN(network, views), true
			}
		}
	}
	return conflict.Pool{}, false
}

// next are the addresses that a network would give next, as far as its mirrors
// know, so many of each family; known is false where they know nothing.
func (rq asker) next(network string, most int) (families [][]pool.Place, known bool) {
	for _, views := range rq.viewsOf(network) {
		c := picker{a: rq.requests, network: network, views: views, hosts: rq.holders.hostsNow(), late: rq.kept.late.Late(views[0].segment), passed: &addrset.Set{}}
		for _, v := range views {
			m := rq.mirrorOf(v)
			if !m.IsReady() {
				return nil, false
			}
			c.seen = append(c.seen, m)
		}
		families = append(families, c.peek(most))
	}
	return families, true
}

// peek are the next candidates, none of which is held.
func (c *picker) peek(most int) (next []pool.Place) {
	chosen := &addrset.Set{}
	for _, asked := range []bool{true, false} {
		for i, v := range c.views {
			want := mirror.Want{Ranges: v.ranges, Never: append(c.never(v), chosen), Order: v.order}
			if asked {
				want.Never = append(want.Never, c.late)
			}
			if v.order == pool.Lowest && c.a.mirrorOf(v).Contended() {
				want.Order = pool.Random // as hosts choose that keep apart
			}
			for len(next) < most {
				at, ok := c.a.Places.ChooseBusy(v.segment, func(own *addrset.Set) (netip.Addr, bool) {
					want := want
					want.Never = append([]*addrset.Set{own}, want.Never...)
					return c.seen[i].Choose(want, false)
				})
				if !ok {
					break
				}
				next = append(next, at)
				chosen.Add(addrset.Single(at.Addr))
			}
		}
	}
	return next
}

// unanswered leaves of the candidates those that nobody on the LAN answers for.
// Where the stock lacks one, some more are asked for along with it.
func (c *picker) unanswered(ctx context.Context, all []candidate) []candidate {
	if !c.a.lan().asksFor(c.views[0]) {
		return all
	}
	most := len(all)
	if slices.ContainsFunc(all, func(one candidate) bool { return !c.a.prober.Fresh(c.network, one.at) }) {
		all = c.upTo(max(most, askedAtOnce), all...)
	}
	places := make([]pool.Place, len(all))
	for i, one := range all {
		places[i] = one.at
	}
	found := c.a.prober.Ask(ctx, c.a.lan().onLAN(c.network, c.views), places)
	var silent []candidate
	for _, one := range all {
		if _, answered := found[one.at]; answered || len(silent) == most {
			one.release()
		} else {
			silent = append(silent, one)
		}
	}
	return silent
}

// stocked are the addresses of a view that nobody answered for lately.
func (c *picker) stocked(v view, ranges []netip.Prefix) (all []netip.Prefix) {
	for _, at := range c.a.prober.Of(c.network) {
		if at.Segment == v.segment && within(ranges, at.Addr) {
			all = append(all, netip.PrefixFrom(at.Addr, at.Addr.BitLen()))
		}
	}
	if v.order == pool.Random {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	return all
}

// picker proposes the candidates of one request.
type picker struct {
	a       *requests
	network string // the engine's id
	views   []view
	hosts   *addrset.Set          // what hosts have themselves
	late    *addrset.Set          // given last
	own     []wanted.Address      // what whoever asks had before, tried first
	named   bool                  // the engine said who asks
	mine    []reserve.Reservation // for who asks, tried before all else
	passed  *addrset.Set          // found to be reserved for somebody else, or no more
	// seen is what each view's candidates are chosen by: the mirrors, or what
	// lists showed.
	seen []*mirror.Mirror
	// current is set while seen is of lists that began after the request did, and
	// no candidate of them was lost to somebody.
	current bool
	// unsure is set while seen may lack much: then several are tried at once, away
	// from the lowest.
	unsure bool
	lostTo int // candidates that somebody else had
	// settled is set once the store knows of this node's own releases.
	settled bool
}

// How many candidates one transaction tries in turn: one, where no other node
// is about; more after one was met, and more still after some were lost or where
// few are left for all.
const (
	rungsMet  = 3
	rungsMost = 8
	fewLeft   = 16
)

// unreadTried is how many candidates that nothing tells of are lost before all
// is read: of a subnet that is nine tenths full one of a thousand requests loses
// as many.
const unreadTried = 64

func (c *picker) rungs() int {
	switch {
	case !c.unsure && c.lostTo == 0 && !c.isContended():
		return 1
	case c.lostTo > rungsMet || !c.hasMore(fewLeft):
		return rungsMost
	}
	return rungsMet
}

// hasMore reports whether one of the subnets has more free addresses than a few.
func (c *picker) hasMore(few uint64) bool {
	for i, v := range c.views {
		if c.seen[i].HasMore(v.ranges, few) {
			return true
		}
	}
	return false
}

func (c *picker) isContended() bool {
	return slices.ContainsFunc(c.views, func(v view) bool { return c.a.mirrorOf(v).Contended() })
}

// look has the candidates chosen by the mirrors, and by the beginning of a list
// where a mirror is not filled yet.
func (c *picker) look(ctx context.Context) error {
	c.seen = nil
	for _, v := range c.views {
		m := c.a.mirrorOf(v)
		if !m.IsReady() {
			first, whole, err := c.a.lists.Beginning(ctx, v.segment, v.subnet, v.ranges, c.never(v))
			if err != nil {
				return c.a.Unanswered(err)
			}
			m, c.unsure = first, c.unsure || !whole
		}
		c.seen = append(c.seen, m)
	}
	return nil
}

// list has them chosen by lists that begin now.
func (c *picker) list(ctx context.Context) error {
	var seen []*mirror.Mirror
	for _, v := range c.views {
		m, err := c.a.lists.Now(ctx, v.segment, v.subnet, v.ranges)
		if err != nil {
			return c.a.Unanswered(err)
		}
		seen = append(seen, m)
	}
	c.seen, c.current, c.unsure = seen, true, false
	return nil
}

// some holds the places of free addresses, as many as one transaction tries. It
// fails when the network is full.
func (c *picker) some(ctx context.Context, most int) ([]candidate, error) {
	if c.a.cautious() {
		one, err := c.silent(ctx)
		return []candidate{one}, err
	}
	for {
		if c.unsure && c.lostTo > unreadTried {
			if err := c.list(ctx); err != nil {
				return nil, err
			}
		}
		first, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		if all := c.unanswered(ctx, c.upTo(min(most, c.rungs()), first)); len(all) > 0 {
			return all, nil
		}
	}
}

// upTo holds the places of more candidates beside those there are, as far as what is
// known offers any.
func (c *picker) upTo(most int, all ...candidate) []candidate {
	for len(all) < most {
		one, ok := c.offer()
		if !ok {
			break // one is enough
		}
		all = append(all, one)
	}
	return all
}

// spare says which addresses are passed over at first.
type spare struct {
	asked bool // those that stopped containers want again
	among mirror.Among
}

// offer holds the place of a candidate, if what is known offers one.
func (c *picker) offer() (one candidate, ok bool) {
	for _, pass := range []spare{{asked: true}, {asked: true, among: mirror.Cooling}, {}, {among: mirror.Cooling}} {
		for i, v := range c.views {
			if one, ok := c.choose(i, v, v.ranges, pass); ok {
				return one, true
			}
		}
	}
	return candidate{}, false
}

// next holds the place of one candidate, by a list where what is known offers
// none.
func (c *picker) next(ctx context.Context) (candidate, error) {
	if one, ok := c.reservedFor(); ok {
		return one, nil
	}
	if one, ok := c.again(); ok {
		return one, nil
	}
	for {
		if one, ok := c.offer(); ok {
			return one, nil
		}
		if c.current && c.settled {
			return c.underWay(ctx)
		}
		c.a.debts.settle(ctx)
		c.settled = true
		if err := c.list(ctx); err != nil {
			return candidate{}, err
		}
	}
}

// underWay waits for the addresses that nobody has but that a call of this
// node is about, a release or a comparison, and holds the first that stays
// free: the network is full only when none does.
func (c *picker) underWay(ctx context.Context) (candidate, error) {
	passed := &addrset.Set{}
	for i, v := range c.views {
		for {
			at, ok := c.a.Places.ChooseBusy(v.segment, func(own *addrset.Set) (netip.Addr, bool) {
				return c.seen[i].Choose(mirror.Want{Ranges: v.ranges, Never: append(c.never(v), own, passed), Among: mirror.Unrecorded}, false)
			})
			if !ok {
				break
			}
			release, err := c.a.Places.Hold(ctx, at)
			if err != nil {
				return candidate{}, err
			}
			if _, taken := c.a.Memory.Lease(at); !taken {
				return candidate{at: at, view: v, release: release}, nil
			}
			release()
			passed.Add(addrset.Single(at.Addr))
		}
	}
	return candidate{}, c.a.exhausted(ctx, c.network, c.views)
}

// never are the addresses that a view does not give whatever the store says.
func (c *picker) never(v view) []*addrset.Set {
	return append(c.nobodys(v), c.a.kept.book.In(v.segment))
}

// nobodys are those of them that are given to nobody at all.
func (c *picker) nobodys(v view) []*addrset.Set {
	return []*addrset.Set{v.excluded, c.hosts, c.a.answering.of(v.segment), c.a.prober.Answering(v.segment), c.passed}
}

func (c *picker) choose(i int, v view, ranges []netip.Prefix, pass spare) (one candidate, ok bool) {
	want := mirror.Want{Ranges: ranges, Never: c.never(v), Order: v.order, Among: pass.among}
	if pass.asked {
		want.Never = append(want.Never, c.late)
	}
	apart := c.unsure || c.lostTo > 0 || c.a.mirrorOf(v).Contended()
	if (apart || v.order == pool.Random) && c.a.lan().asksFor(v) {
		if some := c.stocked(v, ranges); len(some) > 0 {
			inStock := want
			inStock.Ranges = some
			if one, ok := c.hold(i, v, inStock, apart); ok {
				return one, true
			}
		}
	}
	return c.hold(i, v, want, apart)
}

// hold holds the place of what a view's mirror chooses.
func (c *picker) hold(i int, v view, want mirror.Want, apart bool) (one candidate, ok bool) {
	at, release, ok := c.a.Places.HoldFree(v.segment, func(own ...*addrset.Set) (netip.Addr, bool) {
		want := want
		want.Never = append(own, want.Never...)
		return c.seen[i].Choose(want, apart)
	})
	return candidate{at: at, view: v, release: release}, ok
}

// lost notes that somebody else has an address, since a revision at least.
func (c *picker) lost(one candidate, rev store.Revision) {
	c.current = false
	c.lostTo++
	c.a.counts.raced.Add(1)
	c.a.mirrorOf(one.view).Meet()
	for i, v := range c.views {
		if v.segment == one.at.Segment && v.subnet.Contains(one.at.Addr) {
			c.seen[i].Learn(one.at.Addr, mirror.Taken, rev)
		}
	}
}

// reserved notes that an address that has no record is not reserved as was known:
// it is for somebody else, or no more. The mirrors hear of it in time.
func (c *picker) reserved(one candidate) {
	c.current = false
	c.passed.Add(addrset.Single(one.at.Addr))
}

// reservedFor holds the place of an address that is reserved for who asks, if it is
// free: also outside of the ranges.
func (c *picker) reservedFor() (candidate, bool) {
	for len(c.mine) > 0 {
		r := c.mine[0]
		c.mine = c.mine[1:]
		for i, v := range c.views {
			if v.segment != r.At.Segment || !v.subnet.Contains(r.At.Addr) {
				continue
			}
			only := []netip.Prefix{netip.PrefixFrom(r.At.Addr, r.At.Addr.BitLen())}
			if one, ok := c.hold(i, v, mirror.Want{Ranges: only, Never: c.nobodys(v), Among: mirror.Unrecorded}, false); ok {
				one.kept = r.Modified
				return one, true
			}
		}
		c.a.Log.Warn("an address that is reserved for a container is in use: it is given another one", "address", r.At.Addr, "container", r.For)
	}
	return candidate{}, false
}

// kept is what addresses are kept for: for whom operators reserve them, and which
// containers that do not run want them again.
type kept struct {
	*node.Node
	book *reserve.Book
	late *wanted.Book
}

// Avoid replaces the addresses that are given only when nothing else is free,
// since stopped containers want them again.
func (k *kept) Avoid(all []wanted.Address) { k.late.Avoid(all) }

// Ended tells that a container of this host is on one of the engine's networks no
// more, so that it may be the next that asks there.
func (k *kept) Ended(network, container string) { k.late.Ended(network, container, k.Now()) }

// Began tells that a container of this host has started, or is gone.
func (k *kept) Began(container string) { k.late.Began(container) }

// Named reports whether the engine ever said which container asks.
func (k *kept) Named() bool { return k.late.Named() }

// OptionsOf are the --ipam-opt of one of the engine's networks.
func (k *kept) OptionsOf(network string) pool.Options {
	n, _ := k.Memory.Addressing(network)
	o, err := pool.ParseOptions(n.Options)
	if err != nil {
		return pool.Options{}
	}
	return o
}

// newsPatience is how long a request waits to hear of the container that asks: the
// engine tells of one that was made, but not before it has it started.
const newsPatience = 500 * time.Millisecond

// asker is who asks for an address, or for any where that is not valid. Where the
// engine does not say it, it is asked for only where somebody's reservation matters.
func (k *kept) asker(ctx context.Context, p journal.Pool, addr netip.Addr, r AddressRequest) reserve.Asker {
	who := reserve.Asker{Name: r.Options[pool.EndpointName]}
	switch {
	case p.ByManager():
		return reserve.Asker{} // the swarm asks for tasks, on whichever host they run
	case who.Name != "" || r.Idle == nil || !k.book.HasNamed(p.Parsed.Segment):
		return who
	}
	wants := ""
	if addr.IsValid() {
		kept, _ := k.book.At(pool.At(p.Parsed.Segment, addr))
		if wants = kept.For; wants == "" {
			return who
		}
	}
	ctx, cancel := context.WithTimeout(ctx, newsPatience)
	defer cancel()
	for {
		idle, looked, news := r.Idle(p.Network)
		who.Idle, who.Anyone = append(idle, k.late.Idle(p.Network, k.Now())...), !looked
		slices.Sort(who.Idle)
		who.Idle = slices.Compact(who.Idle)
		if !looked || wants == "" && len(who.Idle) > 0 || slices.Contains(who.Idle, wants) {
			return who
		}
		select {
		case <-ctx.Done():
			return who
		case <-news:
		}
	}
}

// now is the reservation of an address as the store has it.
func (k *kept) now(ctx context.Context, at pool.Place) (r reserve.Reservation, found bool, err error) {
	it, err := k.Read(ctx, store.ReservationKey(at.Segment, at.Addr))
	if err != nil {
		return r, false, err
	}
	r, found = reserve.Read(it)
	return r, found, nil
}

// Reservations are all of the cluster's, as far as is known here.
func (k *kept) Reservations() []reserve.Reservation { return k.book.All() }

// AwaitReserved waits until they show what was written at a revision, or ctx ends.
func (k *kept) AwaitReserved(ctx context.Context, written store.Revision) {
	k.book.Await(ctx, written)
}

// Reserved is what an operator said of an address, as far as is known here.
func (k *kept) Reserved(at pool.Place) (reserve.Reservation, bool) { return k.book.At(at) }

// ReservedMAC is the reservation that a hardware address of a segment goes with.
func (k *kept) ReservedMAC(segment, mac string) (reserve.Reservation, bool) {
	return k.book.WithMAC(segment, mac)
}

// read reads what is reserved, where nobody told yet: the first request of
// an agent may come before its first list.
func (k *kept) read(ctx context.Context) error {
	if k.book.Listed() {
		return nil
	}
	items, rev, err := k.List(ctx, store.ReservationsSpan())
	if err != nil {
		return k.Unanswered(err)
	}
	if !k.book.Listed() { // else the watch is ahead of it
		k.book.Apply(store.Change{Reset: true, Items: items, Revision: rev})
	}
	return nil
}

// again holds the place of an address that the container had, if it is free
// and still the network's. One that rests is left for later, unless it is
// certain whose it was.
func (c *picker) again() (candidate, bool) {
	for len(c.own) > 0 {
		k := c.own[0]
		c.own = c.own[1:]
		for i, v := range c.views {
			if v.segment != k.Segment || !within(v.ranges, k.Address) {
				continue
			}
			only := []netip.Prefix{netip.PrefixFrom(k.Address, k.Address.BitLen())}
			for _, among := range []mirror.Among{mirror.Rested, mirror.Cooling} {
				if among == mirror.Cooling && !c.named {
					continue
				}
				if one, ok := c.choose(i, v, only, spare{among: among}); ok {
					return one, true
				}
			}
		}
	}
	return candidate{}, false
}

func within(ranges []netip.Prefix, addr netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(addr) {
			return true
		}
	}
	return false
}

// view is what a network may take dynamic addresses of in one subnet.
type view struct {
	pool     string // PoolID
	segment  string
	subnet   netip.Prefix
	ranges   []netip.Prefix // tried in order
	excluded *addrset.Set   // never given: by option, by override, or as no host can have them
	order    pool.Order
	probe    bool // the LAN is asked first
}

// viewOf says what a pool of a network may give.
func viewOf(p journal.Pool, n journal.Addressing) (view, error) {
	id := p.Parsed
	o, err := optionsOf(p, n)
	if err != nil {
		return view{}, err
	}
	more, err := pool.ParseExcludes(n.Overrides.Exclude)
	if err != nil {
		return view{}, err
	}
	v := view{pool: p.ID, segment: id.Segment, subnet: id.Subnet, order: o.Order, probe: o.Probe, excluded: &addrset.Set{}}
	v.ranges = rangesOf(id, n.Overrides.Ranges)
	for _, s := range slices.Concat(o.Exclude, more) {
		v.excluded.Add(s)
	}
	for _, addr := range []netip.Addr{id.Subnet.Addr(), pool.LastOf(id.Subnet)} {
		if pool.UnusableIn(id.Subnet, addr) != "" {
			v.excluded.Add(addrset.Single(addr))
		}
	}
	return v, nil
}

// optionsOf are a pool's own, or its network's.
func optionsOf(p journal.Pool, n journal.Addressing) (pool.Options, error) {
	if len(p.Options) == 0 {
		return pool.ParseOptions(n.Options)
	}
	return pool.ParseOptions(p.Options)
}

func rangesOf(id pool.ID, added []netip.Prefix) []netip.Prefix {
	if !id.Range.IsValid() {
		return []netip.Prefix{id.Subnet}
	}
	ranges := []netip.Prefix{id.Range}
	for _, r := range added {
		if pool.CheckRange(r, id.Subnet) == nil {
			ranges = append(ranges, r.Masked())
		}
	}
	return ranges
}

// views returns what a request in pool p may be answered from: p's subnet and
// the others of its network of the same family, the numerically first one first.
// Docker cannot move on to the next subnet by itself, because an error that
// crosses the plugin API has lost its type.
func (rq *requests) views(p journal.Pool) ([]view, error) {
	pools := []journal.Pool{p}
	n, joined := rq.Memory.Addressing(p.Network)
	if joined {
		v6 := p.Parsed.Subnet.Addr().Is6()
		pools = append(pools, rq.Memory.Pools(func(o journal.Pool) bool {
			return o.Network == p.Network && o.ID != p.ID && !o.Closed && o.Parsed.Subnet.Addr().Is6() == v6
		})...)
	}
	views := make([]view, 0, len(pools))
	for _, p := range pools {
		v, err := viewOf(p, n)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	slices.SortStableFunc(views, func(a, b view) int {
		return cmp.Or(a.subnet.Addr().Compare(b.subnet.Addr()), cmp.Compare(a.subnet.Bits(), b.subnet.Bits()))
	})
	return views, nil
}

func (rq *requests) mirrorOf(v view) *mirror.Mirror { return rq.Mirrors.Of(v.segment, v.subnet) }

// exhausted says what is full, of what, and what can be done: Docker changes no
// network that is there, and `gvlan network set` adds what a subnet has beside
// its ranges, to networks of the cluster.
func (rq *requests) exhausted(ctx context.Context, network string, views []view) error {
	n, _ := rq.Memory.Addressing(network)
	var ranges, of []string
	withheld := 0 // by operators, and in nobody's hands
	cure := "remove a container, or make a network with a larger subnet"
	for _, v := range views {
		told, err := rq.lists.Told(ctx, v.segment, v.ranges, func(t census.Tally) string { return rq.holders.fullness(ctx, t) })
		if err != nil {
			told = "etcd does not say of what"
		}
		of = append(of, told)
		for _, r := range v.ranges {
			withheld += rq.kept.book.Count(v.segment, r, func(addr netip.Addr) bool { return !rq.mirrorOf(v).Has(addr) })
			ranges = append(ranges, r.String())
			if n.UUID != "" && r.Bits() > v.subnet.Bits() {
				cure = "remove a container, or add another part of the subnet to the range (gvlan network set NAME range+=CIDR)"
			}
		}
	}
	if withheld > 0 {
		of = append(of, fmt.Sprintf("%d reserved by operators (gvlan lease ls)", withheld))
	}
	return full{fmt.Errorf("every address of %s is taken, reserved, excluded or a host's own: %s: %s", strings.Join(ranges, " and "), strings.Join(of, "; "), cure)}
}
