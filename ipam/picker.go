package ipam

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/wanted"
)

// candidate is an address that is free as far as the store knows. Its place is
// held.
type candidate struct {
	at      pool.Place
	view    view
	release func()
	kept    store.Revision // at which it is reserved for who asks; 0: it is not
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
	// asked is for how many the LAN was asked at once.
	asked int
	// rechecked is set once those were asked again whom this host alone heard.
	rechecked bool
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
			if one, ok := c.choose(i, v, pass); ok {
				return one, true
			}
		}
	}
	return candidate{}, false
}

// next holds the place of one candidate, by a list where what is known offers
// none.
func (c *picker) next(ctx context.Context) (candidate, error) {
	if one, ok, err := c.reservedFor(ctx); ok || err != nil {
		return one, err
	}
	if one, ok, err := c.again(ctx); ok || err != nil {
		return one, err
	}
	for {
		if one, ok := c.offer(); ok {
			return one, nil
		}
		if c.current && c.settled {
			if !c.rechecked {
				c.rechecked = true
				if c.a.prober.Recheck(ctx, c.a.lan().onLAN(c.network, c.views)) {
					continue
				}
			}
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
// node is about, and holds the first that stays free: the network is full only
// when none does.
func (c *picker) underWay(ctx context.Context) (candidate, error) {
	for i, v := range c.views {
		one, ok, err := c.await(ctx, i, v, mirror.Want{Ranges: v.ranges, Never: c.never(v), Among: mirror.Unrecorded})
		if ok || err != nil {
			return one, err
		}
	}
	return candidate{}, c.a.exhausted(ctx, c.network, c.views)
}

// await holds the place of what a view's mirror chooses also where a call of
// this node is about it, a release or a comparison, once that is over.
func (c *picker) await(ctx context.Context, i int, v view, want mirror.Want) (one candidate, ok bool, err error) {
	passed := &addrset.Set{}
	want.Never = append(want.Never, passed)
	for {
		at, ok := c.a.Places.ChooseBusy(v.segment, func(own *addrset.Set) (netip.Addr, bool) {
			want := want
			want.Never = append(want.Never, own)
			return c.seen[i].Choose(want, false)
		})
		if !ok {
			return candidate{}, false, nil
		}
		release, err := c.a.Places.Hold(ctx, at)
		if err != nil {
			return candidate{}, false, err
		}
		if _, taken := c.a.Memory.Lease(at); !taken {
			return candidate{at: at, view: v, release: release}, true, nil
		}
		release()
		passed.Add(addrset.Single(at.Addr))
	}
}

// never are the addresses that a view does not give whatever the store says.
func (c *picker) never(v view) []*addrset.Set {
	return append(c.nobodys(v), c.a.kept.book.In(v.segment))
}

// nobodys are those of them that are given to nobody at all.
func (c *picker) nobodys(v view) []*addrset.Set {
	return []*addrset.Set{v.excluded, c.hosts, c.a.answering.of(v.segment), c.a.prober.Answering(v.segment), c.passed}
}

func (c *picker) choose(i int, v view, pass spare) (one candidate, ok bool) {
	want := mirror.Want{Ranges: v.ranges, Never: c.never(v), Order: v.order, Among: pass.among, Blocks: v.blocks}
	if pass.asked {
		want.Never = append(want.Never, c.late)
	}
	apart := c.unsure || c.lostTo > 0 || c.a.mirrorOf(v).Contended()
	if (apart || v.order == pool.Random) && c.a.lan().asksFor(v) {
		if some := c.stocked(v); len(some) > 0 {
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
		want.Blocks.Own = append(own[:1:1], want.Blocks.Own...)
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
func (c *picker) reservedFor(ctx context.Context) (candidate, bool, error) {
	for len(c.mine) > 0 {
		r := c.mine[0]
		c.mine = c.mine[1:]
		for i, v := range c.views {
			if v.segment != r.At.Segment || !v.subnet.Contains(r.At.Addr) {
				continue
			}
			only := []netip.Prefix{netip.PrefixFrom(r.At.Addr, r.At.Addr.BitLen())}
			one, ok, err := c.await(ctx, i, v, mirror.Want{Ranges: only, Never: c.nobodys(v), Among: mirror.Unrecorded})
			if ok || err != nil {
				one.kept = r.Modified
				return one, ok, err
			}
		}
		c.a.Log.Warn("an address that is reserved for a container is in use: it is given another one", "address", r.At.Addr, "container", r.For)
	}
	return candidate{}, false, nil
}

// again holds the place of an address that the container had, if it is free
// and still the network's. One that rests is left for later, unless it is
// certain whose it was.
func (c *picker) again(ctx context.Context) (candidate, bool, error) {
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
				one, ok, err := c.await(ctx, i, v, mirror.Want{Ranges: only, Never: c.never(v), Order: v.order, Among: among})
				if ok || err != nil {
					return one, ok, err
				}
			}
		}
	}
	return candidate{}, false, nil
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
	probe    bool          // the LAN is asked first
	blocks   mirror.Blocks // what the subnet is dealt out in, but for this host's addresses
}

// viewOf says what a pool of a network may give.
func viewOf(p journal.Pool, n journal.Addressing) (view, error) {
	id := p.Parsed
	o, err := n.OptionsOf(p)
	if err != nil {
		return view{}, err
	}
	exclude, err := o.Excluding(n.Overrides.Exclude)
	if err != nil {
		return view{}, err
	}
	v := view{pool: p.ID, segment: id.Segment, subnet: id.Subnet, order: o.Order, probe: o.Probe, excluded: &addrset.Set{}}
	v.ranges = rangesOf(id, n.Overrides.Ranges)
	for _, s := range exclude {
		v.excluded.Add(s)
	}
	for _, addr := range []netip.Addr{id.Subnet.Addr(), pool.LastOf(id.Subnet)} {
		if pool.UnusableIn(id.Subnet, addr) != "" {
			v.excluded.Add(addrset.Single(addr))
		}
	}
	return v, nil
}

// blocksOf are those that a pool's subnet is dealt out in.
func blocksOf(k *kept, p journal.Pool) mirror.Blocks {
	bits, ok := journal.BlockIn(k.Memory, p.Network, p.Parsed.Subnet)
	if !ok {
		return mirror.Blocks{}
	}
	here, elsewhere := k.late.Stopped(p.Parsed.Segment)
	return mirror.Blocks{Bits: bits, Node: k.Self.Node(), Own: []*addrset.Set{here}, Others: elsewhere, Kept: p.Reserved()}
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
		v.blocks = blocksOf(rq.kept, p)
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

// Usage is how full a subnet of one of this host's networks is: of the addresses
// that are given to who asks for none in particular, so without what is excluded,
// is reserved by an operator or for the network itself (its gateway) or is a host's own.
type Usage struct {
	Network string // the engine's id
	Subnet  netip.Prefix
	mirror.Usage
}

// Usage tells of every subnet that this host's networks give addresses of, as
// far as its mirrors know: it asks nobody. A subnet whose mirror is not filled is
// left out, since nothing is known of it.
func (rq *requests) Usage() (all []Usage) {
	hosts := rq.holders.hostsNow()
	for _, p := range rq.Memory.Pools(func(p journal.Pool) bool { return p.Joined() && !p.Closed && !p.ByManager() }) {
		n, _ := rq.Memory.Addressing(p.Network)
		v, err := viewOf(p, n)
		if err != nil {
			continue // its requests say so
		}
		m := rq.mirrorOf(v)
		if !m.IsReady() {
			continue
		}
		given := &addrset.Set{}
		for _, r := range v.ranges {
			given.Add(addrset.Of(r))
		}
		kept := &addrset.Set{}
		for _, addr := range p.Reserved() {
			kept.Add(addrset.Single(addr))
		}
		given.Subtract(kept)
		given.Subtract(v.excluded)
		given.Subtract(hosts)
		given.Subtract(rq.kept.book.In(v.segment))
		all = append(all, Usage{Network: p.Network, Subnet: v.subnet, Usage: m.Usage(given)})
	}
	return all
}
