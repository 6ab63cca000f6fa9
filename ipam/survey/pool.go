package survey

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Pool is how full a subnet of a network is. Its counts are of the addresses that
// are given to who asks for none in particular; a subnet of IPv6 has more of them
// than an integer counts, and a float64 is exact up to 2^53.
type Pool struct {
	Network  string         `json:"network"`
	Segment  string         `json:"segment"`
	Node     string         `json:"node,omitempty"` // the only one that has the network
	Subnet   netip.Prefix   `json:"subnet"`
	Ranges   []string       `json:"ranges"`             // where addresses are given from
	Excluded []string       `json:"excluded,omitempty"` // exclude=
	Size     float64        `json:"size"`
	Used     float64        `json:"used"`     // given to containers
	Resting  float64        `json:"resting"`  // after a container (cooldown=), or after an eviction
	Reserved float64        `json:"reserved"` // gateway, aux, excluded, hosts' own, by an operator
	Free     float64        `json:"free"`
	Beside   int            `json:"beside,omitempty"` // leases outside the ranges (--ip)
	ByNode   map[string]int `json:"byNode,omitempty"` // of Used and Beside; "" is the swarm's
}

// pooled is a Pool that is being counted.
type pooled struct {
	*Subnet
	first, last string       // keys of its lowest and highest address
	given       *addrset.Set // of the ranges, without what is kept
	counts      Pool
}

// Pools counts what has become of every subnet's addresses, by one walk through
// all leases.
func (s *Survey) Pools(ctx context.Context, kv Scanner) ([]Pool, error) {
	return s.counted(func(take func(Entry) error) error { return s.Each(ctx, kv, store.AllLeasesSpan(), take) })
}

// PoolsOf is Pools by entries that are known, in the order of their places' keys.
func (s *Survey) PoolsOf(known []Entry) []Pool {
	pools, _ := s.counted(eachOf(known)) // taking fails nowhere
	return pools
}

// eachOf tells of entries that are known.
func eachOf(known []Entry) func(take func(Entry) error) error {
	return func(take func(Entry) error) error {
		for _, a := range known {
			if err := take(a); err != nil {
				return err
			}
		}
		return nil
	}
}

// counted counts every subnet's addresses of which each tells, in the order of
// their places' keys.
func (s *Survey) counted(each func(take func(Entry) error) error) ([]Pool, error) {
	hosts := s.hostSet()
	var all []*pooled
	for _, n := range s.Networks.All() {
		for i := range n.Subnets {
			all = append(all, newPooled(&n.Subnets[i], hosts, s.reservedSet(n.Segment)))
		}
	}
	w := walk{waiting: slices.SortedFunc(slices.Values(all), func(a, b *pooled) int { return strings.Compare(a.first, b.first) })}
	if err := each(w.take); err != nil {
		return nil, err
	}
	pools := make([]Pool, 0, len(all))
	for _, p := range all {
		pools = append(pools, p.done())
	}
	return pools, nil
}

func newPooled(sub *Subnet, hosts, reserved *addrset.Set) *pooled {
	segment, subnet := sub.Network.Segment, sub.Pool.Subnet
	p := &pooled{
		Subnet: sub, given: sub.ranges.Clone(),
		first: store.LeaseKey(segment, subnet.Addr()), last: store.LeaseKey(segment, pool.LastOf(subnet)),
	}
	p.given.Subtract(sub.kept(hosts))
	p.given.Subtract(reserved)
	p.counts = Pool{
		Network: sub.Network.Name, Segment: segment, Node: sub.Network.Node, Subnet: subnet,
		Ranges: runs(sub.ranges), Excluded: runs(sub.excluded), ByNode: map[string]int{}, Size: size(sub.ranges),
	}
	kept := sub.ranges.Clone()
	kept.Subtract(p.given)
	p.counts.Reserved = size(kept) // not a difference of two sizes that are not exact
	return p
}

// walk goes through leases and subnets side by side: both are in the order of
// keys.
type walk struct {
	waiting []*pooled // that begin behind the last lease
	open    []*pooled // that have begun, and do not end before it
}

func (w *walk) take(a Entry) error {
	key := a.Place().Key()
	w.open = slices.DeleteFunc(w.open, func(p *pooled) bool { return p.last < key })
	for ; len(w.waiting) > 0 && w.waiting[0].first <= key; w.waiting = w.waiting[1:] {
		if w.waiting[0].last >= key {
			w.open = append(w.open, w.waiting[0])
		}
	}
	for _, p := range w.open {
		p.count(a)
	}
	return nil
}

// count counts an address that has a record.
func (p *pooled) count(a Entry) {
	ranged, given := p.ranges.Has(a.Address), p.given.Has(a.Address)
	c := &p.counts
	if a.State.Held() || a.State == Unreadable {
		c.ByNode[a.Node]++
		switch {
		case !ranged:
			c.Beside++
		case given:
			c.Used++
		default: // given before it was kept
			c.Used++
			c.Reserved--
		}
		return
	}
	switch {
	case !given:
	case a.State == Resting, a.State == Quarantined:
		c.Resting++
	default:
		c.Reserved++ // of another network of the segment, or one that is gone
	}
}

func (p *pooled) done() Pool {
	c := p.counts
	c.Free = c.Size - c.Used - c.Resting - c.Reserved
	return c
}

// size counts the addresses of a set.
func size(set *addrset.Set) (n float64) {
	for run := range set.Intervals() {
		n += run.Size()
	}
	return n
}

// runs are a set's addresses in words.
func runs(set *addrset.Set) (all []string) {
	for run := range set.Intervals() {
		all = append(all, run.String())
	}
	return all
}

// Vacant are the addresses of a subnet that are given to who asks for none in
// particular, and that nothing in the store tells of: the lowest first, and no
// more than most.
func (s *Survey) Vacant(ctx context.Context, kv Scanner, sub *Subnet, most int) (vacant []netip.Addr, err error) {
	taken := addrset.NewIndex(sub.Pool.Subnet)
	span := store.LeasesSpan(sub.Network.Segment, sub.Pool.Subnet)
	_, err = kv.Scan(ctx, span, store.KeysOnly, func(page []store.Item) error {
		for _, it := range page {
			if _, addr, err := store.LeaseOf(it.Key); err == nil {
				taken.Add(addr)
			} else if _, addr, rests := store.CooldownOf(it.Key); rests {
				taken.Add(addr)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	given := sub.ranges.Clone()
	given.Subtract(sub.kept(s.hostSet()))
	given.Subtract(s.reservedSet(sub.Network.Segment)) // whoever answers there was to be left alone
	for run := range given.Intervals() {
		for addr, ok := taken.NextFree(run.First(), run.Last()); ok && len(vacant) < most; addr, ok = taken.NextFree(addr.Next(), run.Last()) {
			vacant = append(vacant, addr)
			if addr == run.Last() {
				break
			}
		}
	}
	return vacant, nil
}
