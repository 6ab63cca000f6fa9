package mirror

import (
	"net/netip"
	"time"

	"gvlan/ipam/addrset"
)

// rests are the addresses of a mirror that became free not long ago, by this
// host's clock. They only put an order on the candidates: an address that
// rests is given where nothing else is free, so that no clock refuses
// anything. A host that starts knows of none.
type rests struct {
	now   func() time.Time
	keep  time.Duration // how long one is remembered; 0: nobody asks
	since map[netip.Addr]time.Time
}

// remember has addresses that become free from now on remembered so long.
func (r *rests) remember(keep time.Duration) {
	r.keep = keep
	if keep == 0 {
		r.since = nil
	}
}

// began notes that an address became free.
func (r *rests) began(addr netip.Addr) {
	if r.keep == 0 {
		return
	}
	if r.since == nil {
		r.since = map[netip.Addr]time.Time{}
	}
	r.since[addr] = r.now()
}

// of are the addresses that have been free for less than a cooldown. What
// nobody can ask for any more is forgotten.
func (r *rests) of(cooldown time.Duration) *addrset.Set {
	set := &addrset.Set{}
	for addr, since := range r.since {
		free := r.now().Sub(since)
		switch {
		case free >= r.keep:
			delete(r.since, addr)
		case free < cooldown:
			set.Add(addrset.Single(addr))
		}
	}
	return set
}
