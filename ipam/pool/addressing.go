package pool

import (
	"net/netip"

	"gvlan/cluster/store"
)

// Data is what CreateNetwork says of one pool (Docker's IPAMData).
type Data struct {
	Space   string
	Subnet  netip.Prefix
	Gateway netip.Addr            // zero: none
	Aux     map[string]netip.Addr // --aux-address, by name
}

// Addressing is what the pools of a network say: the true ranges and which
// gateways were asked for, none of which CreateNetwork is told.
type Addressing struct {
	Segment string
	Options map[string]string // --ipam-opt, as given
	Pools   []store.Pool
}
