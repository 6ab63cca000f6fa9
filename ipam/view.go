package ipam

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"gvlan/ipam/addrset"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

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
func viewOf(p opened, n network) (view, error) {
	id, given := p.parsed(), p.Options
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
func (a *Allocator) views(p opened) ([]view, error) {
	pools := []opened{p}
	n, joined := a.ledger.network(p.Network)
	if joined {
		v6 := p.parsed().Subnet.Addr().Is6()
		pools = append(pools, a.ledger.poolsWhere(func(o opened) bool {
			return o.Network == p.Network && o.ID != p.ID && !o.Closed && o.parsed().Subnet.Addr().Is6() == v6
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
func (a *Allocator) seed(v view, m *mirror.Mirror) (netip.Addr, error) {
	if v.order == pool.Random {
		return addrset.RandomSeed(a.Rand)
	}
	if m.Striped() {
		return stripe(a.Self.Node()), nil
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
