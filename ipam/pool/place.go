package pool

import (
	"net/netip"

	"gvlan/cluster/store"
)

// Place is where an address exists once.
type Place struct {
	Segment string
	Addr    netip.Addr
}

// At is the place of an address in a segment.
func At(segment string, addr netip.Addr) Place { return Place{segment, addr} }

// Key is that of the address's record.
func (p Place) Key() string { return store.LeaseKey(p.Segment, p.Addr) }
