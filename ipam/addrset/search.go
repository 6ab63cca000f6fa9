package addrset

import "net/netip"

// Search returns the lowest address of [from, last] that neither the index nor
// any of the sets has.
func (x *Index) Search(from, last netip.Addr, sets []*Set) (netip.Addr, bool) {
	for {
		free, ok := x.NextFree(from, last)
		if !ok {
			return netip.Addr{}, false
		}
		n, ok := searchInterval(Between(free, last), sets)
		if !ok {
			return netip.Addr{}, false
		}
		if from = n.addr(); from == free {
			return free, true
		}
	}
}
