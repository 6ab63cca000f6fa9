package ipam

import (
	"net/netip"
	"sync"

	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

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
func (a *Allocator) Avoid(all []Kept) {
	late := map[string]*addrset.Set{}
	var here []Kept
	for _, k := range all {
		setOf(late, k.Segment).Add(addrset.Single(k.Address))
		if k.Network != "" {
			here = append(here, k)
		}
	}
	a.kept.mu.Lock()
	defer a.kept.mu.Unlock()
	a.kept.late, a.kept.here = late, here
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
func (k *kept) of(p opened, r AddressRequest) (own []Kept) {
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
