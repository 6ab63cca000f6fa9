package ipam

import (
	"cmp"
	"slices"

	"gvlan/ipam/pool"
)

func (b *ledger) lease(p pool.Place) (lease, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[p]
	return l, ok
}

func (b *ledger) pool(id string) (opened, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.pools[id]
	return p, ok
}

func (b *ledger) network(id string) (network, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.networks[id]
	return n, ok
}

func (b *ledger) endpoint(id string) (endpoint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.endpoints[id]
	return e, ok
}

// networkOf returns the network with a definition of that uuid.
func (b *ledger) networkOf(uuid string) (network, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.networks {
		if n.UUID == uuid && uuid != "" {
			return n, true
		}
	}
	return network{}, false
}

// leasesWhere returns the leases that which picks, in order of address.
func (b *ledger) leasesWhere(which func(lease) bool) []lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []lease
	for _, l := range b.leases {
		if which(l) {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, func(x, y lease) int {
		return cmp.Or(cmp.Compare(x.Segment, y.Segment), x.Address.Compare(y.Address))
	})
	return found
}

// endpointsWhere returns the endpoints that which picks.
func (b *ledger) endpointsWhere(which func(endpoint) bool) []endpoint {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []endpoint
	for _, e := range b.endpoints {
		if which(e) {
			found = append(found, e)
		}
	}
	return found
}

// poolsWhere returns the pools that which picks, oldest first.
func (b *ledger) poolsWhere(which func(opened) bool) []opened {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []opened
	for _, p := range b.pools {
		if which(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(x, y opened) int { return cmp.Compare(x.Seq, y.Seq) })
	return found
}

// nextSeq numbers the pools in the order they are opened.
func (b *ledger) nextSeq() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	highest := int64(0)
	for _, p := range b.pools {
		highest = max(highest, p.Seq)
	}
	return highest + 1
}

// knew tells whether a pool of that nonce was known at any time since the
// start.
func (b *ledger) knew(nonce string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.minted[nonce]
}

// reservedAt returns an open pool that an address is reserved for.
func (b *ledger) reservedAt(at pool.Place) (opened, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		if !p.Closed && p.reserves(at.Addr) && p.parsed().Segment == at.Segment {
			return p, true
		}
	}
	return opened{}, false
}

// isBusy tells whether a call is about that place right now.
func (b *ledger) isBusy(p pool.Place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, busy := b.busy[p]
	return busy
}
