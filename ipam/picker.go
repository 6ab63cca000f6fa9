package ipam

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
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
}

// silent holds the place of a free address that nobody answers for on the LAN.
func (c *picker) silent(ctx context.Context, network string) (candidate, error) {
	for {
		some, err := c.several(ctx)
		if err != nil {
			return candidate{}, err
		}
		addrs := make([]netip.Addr, len(some))
		for i, one := range some {
			addrs[i] = one.at.Addr
		}
		heard, err := c.a.askLAN(ctx, network, some[0].at.Segment, addrs)
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

// several holds the places of up to askedAtOnce free addresses of one segment.
func (c *picker) several(ctx context.Context) ([]candidate, error) {
	at, v, release, err := c.next(ctx)
	if err != nil {
		return nil, err
	}
	some := []candidate{{at, v, release}}
	for len(some) < askedAtOnce {
		at, v, release, ok, err := c.offer()
		if err != nil || !ok {
			break // one is enough
		}
		some = append(some, candidate{at, v, release})
	}
	return some, nil
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
		return nil
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

// picker proposes the candidates of one request.
type picker struct {
	a     *requests
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
		if !c.a.Mirrors.Of(v.segment, v.subnet).IsReady() {
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
	for _, later := range []spare{{asked: true, resting: true}, {asked: true}, {}} {
		for i, v := range c.views {
			at, release, ok, err := c.choose(i, v, later)
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
		c.a.debts.settle(ctx)
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
			at, ok := c.a.Places.ChooseBusy(v.segment, func(own *addrset.Set) (netip.Addr, bool) {
				return addrset.Search(v.ranges, netip.Addr{}, []*addrset.Set{v.excluded, c.hosts, c.a.answering.of(v.segment), own, c.listed[i]})
			})
			if !ok {
				break
			}
			release, err := c.a.Places.Hold(ctx, at)
			if err != nil {
				return pool.Place{}, view{}, nil, err
			}
			if _, taken := c.a.Memory.Lease(at); !taken {
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

func (c *picker) choose(i int, v view, later spare) (pool.Place, func(), bool, error) {
	m := c.a.Mirrors.Of(v.segment, v.subnet)
	seed, err := c.a.seed(v, m)
	if err != nil {
		return pool.Place{}, nil, false, err
	}
	taken := []*addrset.Set{v.excluded, c.hosts, c.a.answering.of(v.segment)}
	if later.asked {
		taken = append(taken, c.late)
	}
	if later.resting && v.cooldown > 0 {
		taken = append(taken, m.Resting(v.cooldown))
	}
	at, release, ok := c.a.Places.HoldFree(v.segment, func(own ...*addrset.Set) (netip.Addr, bool) {
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
		items, _, err := c.a.List(ctx, store.LeasesSpan(v.segment, v.subnet))
		if err != nil {
			return c.a.Unanswered(err)
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
	c.a.Mirrors.Of(v.segment, v.subnet).Meet()
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

// Kept is an address that a stopped container will want again: the one that
// its user gave it, or the one it had.
type Kept struct {
	Segment string
	Address netip.Addr
	Fixed   bool // the user gave it, so it is asked for by itself
	// Of a container of this host, else "".
	Network   string // the engine's network id
	Container string // its name
}

// kept is what stopped containers of all hosts will want again. It puts an
// order on candidates and refuses nothing: what is kept is given where nothing
// else is free.
type kept struct {
	mu   sync.Mutex
	late map[string]*addrset.Set // by segment: given last; a set is replaced, never changed
	here []Kept                  // of this host's containers
}

// Avoid replaces the addresses that are given only when nothing else is free,
// since stopped containers want them again.
func (rq *requests) Avoid(all []Kept) {
	late := map[string]*addrset.Set{}
	var here []Kept
	for _, k := range all {
		addrset.In(late, k.Segment).Add(addrset.Single(k.Address))
		if k.Network != "" {
			here = append(here, k)
		}
	}
	rq.kept.mu.Lock()
	defer rq.kept.mu.Unlock()
	rq.kept.late, rq.kept.here = late, here
}

// in are the addresses of a segment that are given last.
func (k *kept) in(segment string) *addrset.Set {
	k.mu.Lock()
	defer k.mu.Unlock()
	if set := k.late[segment]; set != nil {
		return set
	}
	return &addrset.Set{}
}

// of are the addresses that whoever asks had before. Engines from 29 name the
// container. Of others a stopped container is known to ask where none can that
// never ran; of several the one that had the lowest is taken for it.
func (k *kept) of(p journal.Pool, r AddressRequest) (own []Kept) {
	name := r.Options[pool.EndpointName]
	if name == "" && (r.Newcomers == nil || r.Newcomers(p.Network)) {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.here {
		if one.Network == p.Network && !one.Fixed && (name == "" || name == one.Container) {
			own = append(own, one)
		}
	}
	return own
}

// again holds the place of an address that the container had, if it is free
// and still the network's. One that rests is left for later, unless it is
// certain whose it was.
func (c *picker) again() (pool.Place, view, func(), bool, error) {
	for len(c.own) > 0 {
		k := c.own[0]
		c.own = c.own[1:]
		for i, v := range c.views {
			if v.segment != k.Segment || !within(v.ranges, k.Address) {
				continue
			}
			v.ranges = []netip.Prefix{netip.PrefixFrom(k.Address, k.Address.BitLen())}
			if at, release, ok, err := c.choose(i, v, spare{resting: !c.named}); ok || err != nil {
				return at, c.views[i], release, ok, err
			}
		}
	}
	return pool.Place{}, view{}, nil, false, nil
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
	cooldown time.Duration // addresses rest between two containers
}

// viewOf says what a pool of a network may give.
func viewOf(p journal.Pool, n journal.Addressing) (view, error) {
	id, given := p.Parsed, p.Options
	if len(given) == 0 {
		given = n.Options
	}
	o, err := pool.ParseOptions(given)
	if err != nil {
		return view{}, err
	}
	more, err := pool.ParseExcludes(n.Overrides.Exclude)
	if err != nil {
		return view{}, err
	}
	v := view{pool: p.ID, segment: id.Segment, subnet: id.Subnet, order: o.Order, cooldown: pool.CooldownOf(n.Overrides), excluded: &addrset.Set{}}
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

// views returns what a request in pool p may be answered from: p itself,
// then the other subnets of its network of the same family. Docker cannot
// move on to the next subnet by itself, because an error that crosses the
// plugin API has lost its type.
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
	return views, nil
}

// seed says where in a range the search begins.
func (rq *requests) seed(v view, m *mirror.Mirror) (netip.Addr, error) {
	if v.order == pool.Random {
		return addrset.RandomSeed(rq.Rand)
	}
	if m.Striped() {
		return stripe(rq.Self.Node()), nil
	}
	return netip.Addr{}, nil
}

// stripe is where this node looks for addresses while others contend for
// the lowest: every node begins somewhere else and so meets few.
func stripe(node string) netip.Addr {
	h := fnv.New128a()
	h.Write([]byte(node))
	addr, _ := netip.AddrFromSlice(h.Sum(nil))
	return addr
}
