package ipam

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// ledger is what this node holds: leases, endpoints, pools and networks, in
// memory and in the host's journal.
type ledger struct {
	journal Journal

	// writing keeps the journal's order that of memory; it is taken before
	// mu and never held across a call of the store.
	writing sync.Mutex

	mu        sync.Mutex // guards what follows; never held across a call of anything
	leases    map[pool.Place]lease
	endpoints map[string]endpoint
	pools     map[string]opened
	minted    map[string]bool // nonces of all pools since the start, also of those that are gone
	networks  map[string]network
	held      map[string]*addrset.Set // by segment: the addresses of leases
}

// entry is one record of the ledger. Enter and leave run under mu.
type entry interface {
	journalKey() string
	enter(*ledger)
	leave(*ledger)
}

func newLedger(journal Journal) (*ledger, error) {
	b := &ledger{
		journal:   journal,
		leases:    map[pool.Place]lease{},
		endpoints: map[string]endpoint{},
		pools:     map[string]opened{},
		minted:    map[string]bool{},
		networks:  map[string]network{},
		held:      map[string]*addrset.Set{},
	}
	if err := journal.Each(b.load); err != nil {
		return nil, fmt.Errorf("load the address journal: %w", err)
	}
	return b, nil
}

func (b *ledger) load(key string, value []byte) error {
	kind, _, _ := strings.Cut(key, "/")
	switch kind {
	case "lease":
		return loadLease(b, key, value)
	case "endpoint":
		return enterJSON[endpoint](b, key, value)
	case "pool":
		return enterJSON[opened](b, key, value)
	case "network":
		return enterJSON[network](b, key, value)
	}
	return nil // of a newer gvlan
}

// loadLease enters a lease of an earlier life of this agent, which may have
// ended while a release of it was under way.
func loadLease(b *ledger, key string, value []byte) error {
	var l lease
	if err := json.Unmarshal(value, &l); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	l.Doubt = l.Doubt || l.State == given || l.State == unbound
	l.enter(b)
	return nil
}

func enterJSON[T entry](b *ledger, key string, value []byte) error {
	var e T
	if err := json.Unmarshal(value, &e); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	e.enter(b)
	return nil
}

// keep enters records, in memory even when the journal cannot take them.
func (b *ledger) keep(entries ...entry) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.keepWriting(entries...)
}

func (b *ledger) keepWriting(entries ...entry) error {
	values := make(map[string][]byte, len(entries))
	b.mu.Lock()
	for _, e := range entries {
		e.enter(b)
		raw, err := json.Marshal(e)
		if err != nil {
			b.mu.Unlock()
			return fmt.Errorf("write %s: %w", e.journalKey(), err)
		}
		values[e.journalKey()] = raw
	}
	b.mu.Unlock()
	if len(values) == 0 {
		return nil
	}
	return b.journal.PutAll(values)
}

// forget takes records out.
func (b *ledger) forget(entries ...entry) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	keys := make([]string, 0, len(entries))
	b.mu.Lock()
	for _, e := range entries {
		e.leave(b)
		keys = append(keys, e.journalKey())
	}
	b.mu.Unlock()
	if len(keys) == 0 {
		return nil
	}
	return b.journal.DeleteAll(keys...)
}

// changePool runs change on a pool that is there and keeps the outcome.
func (b *ledger) changePool(id string, change func(*opened)) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	p, ok := b.pool(id)
	if !ok {
		return nil
	}
	change(&p)
	return b.keepWriting(p)
}

// changeNetwork is changePool for a network.
func (b *ledger) changeNetwork(id string, change func(*network)) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	n, ok := b.network(id)
	if !ok {
		return nil
	}
	change(&n)
	return b.keepWriting(n)
}

// change runs f with the ledger to itself and keeps what f returns.
func (b *ledger) change(f func() []entry) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.keepWriting(f()...)
}

// withHeld runs f with the addresses of this node's leases in a segment, which
// do not change meanwhile. f calls nothing of the ledger.
func (b *ledger) withHeld(segment string, f func(held *addrset.Set)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(setOf(b.held, segment))
}

func setOf(sets map[string]*addrset.Set, segment string) *addrset.Set {
	if sets[segment] == nil {
		sets[segment] = &addrset.Set{}
	}
	return sets[segment]
}

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

// networksWhere returns the networks that which picks.
func (b *ledger) networksWhere(which func(network) bool) []network {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []network
	for _, n := range b.networks {
		if which(n) {
			found = append(found, n)
		}
	}
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

// knew reports whether a pool of that nonce was known at any time since the
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
		if !p.Closed && p.reserves(at.Addr) && p.id.Segment == at.Segment {
			return p, true
		}
	}
	return opened{}, false
}
