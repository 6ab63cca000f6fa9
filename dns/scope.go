package dns

import (
	"net/netip"
	"slices"
)

// Scope says which networks a question may see. Names, addresses and
// services of any other network do not exist for it. The zero Scope sees
// none.
type Scope struct {
	all      bool
	networks []string // definition uuids, or the engine's id of a local network
}

// Everything is the scope of the host itself: fully qualified names and
// addresses of every network, no short names.
func Everything() Scope { return Scope{all: true} }

// Networks is the scope of who is on these networks and no others.
func Networks(ids ...string) Scope {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return Scope{networks: slices.Compact(ids)}
}

// sees tells whether the scope holds a network. Scopes are a container's
// networks, so a walk beats any index.
func (s Scope) sees(n *network) bool {
	if n == nil || n.off {
		return false
	}
	return s.all || slices.Contains(s.networks, n.id)
}

// ScopeOf returns what a question from an address may see: a container sees
// the networks its address is on, anybody else everything. The second
// result tells whether it is a container.
func (z *Zone) ScopeOf(client netip.Addr) (Scope, bool) {
	holders := z.now().holders(client.Unmap())
	if len(holders) == 0 {
		return Everything(), false
	}
	var ids []string
	for _, m := range holders {
		ids = append(ids, m.network)
	}
	return Networks(ids...), true
}
