package journal

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

// File is where a Memory lasts; *disk.Journal is one.
type File interface {
	// Write puts values, all or none, and has them on disk when it returns,
	// after all that was kept before.
	Write(values map[Key][]byte) error
	// Keep has values outlive this process, though not this boot of the
	// machine, until the next Write takes them along. It does so also when it
	// fails, if this process lives so long. Due is that one should come soon.
	Keep(values map[Key][]byte) (due bool, err error)
	// Each calls f for every key of a bucket.
	Each(bucket string, f func(key string, value []byte) error) error
	// Complete reports whether all that was kept before the start is there: the
	// machine has not booted since.
	Complete() bool
}

// Key is one key of a File. A value of nil is that it is gone.
type Key struct{ Bucket, Key string }

// Memory is what this host knows by itself: its networks and endpoints, and the
// pools, leases and what belongs to them, in memory and in the journal. It is
// the only one, so that several of them can change in one transaction.
type Memory struct {
	// Complete reports whether it began with all that the agent before knew. Else
	// it may lack what is Known, and only others can tell.
	Complete bool

	rounds *rounds

	mu          sync.Mutex // guards what follows; never held across a call of anything
	networks    map[string]Network
	endpoints   map[string]Endpoint
	addressings map[string]Addressing
	bindings    map[string]Binding
	pools       map[string]Pool
	leases      map[pool.Place]Lease
	minted      map[string]bool                // nonces of all pools since the start, also of those that are gone
	held        map[string]*addrset.Set        // by segment: the addresses of leases
	byEndpoint  map[string]map[pool.Place]bool // the leases that name an endpoint
}

// Record is what a Memory is made of: a Network, Endpoint, Addressing, Binding,
// Pool or Lease. Enter and leave run under mu.
type Record interface {
	key() Key
	enter(*Memory)
	leave(*Memory)
}

// Recall reads a file into memory.
func Recall(file File) (*Memory, error) {
	m := &Memory{
		Complete:    file.Complete(),
		networks:    map[string]Network{},
		endpoints:   map[string]Endpoint{},
		addressings: map[string]Addressing{},
		bindings:    map[string]Binding{},
		pools:       map[string]Pool{},
		leases:      map[pool.Place]Lease{},
		minted:      map[string]bool{},
		held:        map[string]*addrset.Set{},
		byEndpoint:  map[string]map[pool.Place]bool{},
	}
	m.rounds = newRounds(file, m.enter)
	for bucket, read := range map[string]func(key string, value []byte) error{
		networksBucket:  func(key string, value []byte) error { return recall[Network](m, key, value) },
		endpointsBucket: func(key string, value []byte) error { return recall[Endpoint](m, key, value) },
		addressesBucket: m.recallAddresses,
	} {
		if err := file.Each(bucket, read); err != nil {
			return nil, fmt.Errorf("recall what this host knew: %w", err)
		}
	}
	return m, nil
}

// Readable reports whether a value can be a record of a Memory's bucket. Other
// buckets hold plain words, of which any is readable.
func Readable(bucket string, value []byte) bool {
	return !slices.Contains([]string{networksBucket, endpointsBucket, addressesBucket}, bucket) || json.Valid(value)
}

func (m *Memory) recallAddresses(key string, value []byte) error {
	kind, _, _ := strings.Cut(key, "/")
	switch kind {
	case "lease":
		return recallLease(m, key, value)
	case "endpoint":
		return recall[Binding](m, key, value)
	case "pool":
		return recall[Pool](m, key, value)
	case "network":
		return recall[Addressing](m, key, value)
	}
	return nil // of a newer gvlan
}

// recallLease enters a lease of an earlier life of this agent, which may have
// ended while a release of it was under way.
func recallLease(m *Memory, key string, value []byte) error {
	var l Lease
	if err := json.Unmarshal(value, &l); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	l.Doubt = l.Doubt || l.IsGiven() || l.State == Unbound
	if l.State == Reissued {
		l.State = Given
	}
	l.enter(m)
	return nil
}

func recall[T Record](m *Memory, key string, value []byte) error {
	var record T
	if err := json.Unmarshal(value, &record); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	record.enter(m)
	return nil
}

// ChangeNetwork rewrites a network if it is (still) there.
func (m *Memory) ChangeNetwork(id string, change func(*Network)) error {
	return m.Change(func(c *Change) error {
		if n, ok := c.Network(id); ok {
			change(&n)
			c.Put(n)
		}
		return nil
	})
}

// KnownEndpoint rewrites an endpoint if it is (still) there, and reports
// whether it was.
func (m *Memory) KnownEndpoint(id string, change func(*Endpoint)) (found bool, err error) {
	err = m.Known(func(c *Change) {
		var e Endpoint
		if e, found = m.Endpoint(id); found {
			change(&e)
			c.Put(e)
		}
	})
	return found, err
}

// NotePool notes a change of a pool if it is (still) there.
func (m *Memory) NotePool(id string, change func(*Pool)) error {
	return m.Note(func(c *Change) {
		if p, ok := m.Pool(id); ok {
			change(&p)
			c.Put(p)
		}
	})
}

// KnownAddressing rewrites a network's addressing if it is (still) there.
func (m *Memory) KnownAddressing(id string, change func(*Addressing)) error {
	return m.Known(func(c *Change) {
		if n, ok := m.Addressing(id); ok {
			change(&n)
			c.Put(n)
		}
	})
}

// Network returns one of the engine's networks.
func (m *Memory) Network(id string) (Network, bool) { return one(m, m.networks, id) }

// Networks lists the engine's networks by id.
func (m *Memory) Networks() []Network {
	return some(m, m.networks, func(Network) bool { return true }, func(a, b Network) int { return cmp.Compare(a.ID, b.ID) })
}

// Endpoint returns one endpoint of this host.
func (m *Memory) Endpoint(id string) (Endpoint, bool) { return one(m, m.endpoints, id) }

// Endpoints lists the endpoints by id.
func (m *Memory) Endpoints() []Endpoint {
	return m.endpointsWhere(func(Endpoint) bool { return true })
}

// EndpointsOf lists the endpoints of one network.
func (m *Memory) EndpointsOf(network string) []Endpoint {
	return m.endpointsWhere(func(e Endpoint) bool { return e.Network == network })
}

func (m *Memory) endpointsWhere(which func(Endpoint) bool) []Endpoint {
	return some(m, m.endpoints, which, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
}

// Addressing returns what the addresses of a network need of it.
func (m *Memory) Addressing(id string) (Addressing, bool) { return one(m, m.addressings, id) }

// AddressingOf returns the one of a definition.
func (m *Memory) AddressingOf(uuid string) (Addressing, bool) {
	if uuid == "" {
		return Addressing{}, false
	}
	found := m.Addressings(func(n Addressing) bool { return n.UUID == uuid })
	if len(found) == 0 {
		return Addressing{}, false
	}
	return found[0], true
}

// Addressings returns those that which picks.
func (m *Memory) Addressings(which func(Addressing) bool) []Addressing {
	return some(m, m.addressings, which, func(a, b Addressing) int { return cmp.Compare(a.ID, b.ID) })
}

// SameDefinition reports whether two of the engine's networks stand for one
// definition: the network that an import holds addresses for, and the one that
// then takes its place.
func (m *Memory) SameDefinition(id, other string) bool {
	first, ok1 := m.Addressing(id)
	second, ok2 := m.Addressing(other)
	return ok1 && ok2 && first.UUID != "" && first.UUID == second.UUID
}

// Binding returns an endpoint as it was bound.
func (m *Memory) Binding(endpoint string) (Binding, bool) { return one(m, m.bindings, endpoint) }

// Bindings returns those that which picks.
func (m *Memory) Bindings(which func(Binding) bool) []Binding {
	return some(m, m.bindings, which, func(a, b Binding) int { return cmp.Compare(a.Record.Endpoint, b.Record.Endpoint) })
}

// Pool returns an opened pool.
func (m *Memory) Pool(id string) (Pool, bool) { return one(m, m.pools, id) }

// Pools returns those that which picks, oldest first.
func (m *Memory) Pools(which func(Pool) bool) []Pool {
	return some(m, m.pools, which, bySeq)
}

func bySeq(a, b Pool) int { return cmp.Compare(a.Seq, b.Seq) }

// NextSeq numbers the pools in the order they are opened.
func (m *Memory) NextSeq() int64 {
	all := m.Pools(func(Pool) bool { return true })
	if len(all) == 0 {
		return 1
	}
	return all[len(all)-1].Seq + 1
}

// Knew reports whether a pool of that nonce was known at any time since the
// start.
func (m *Memory) Knew(nonce string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.minted[nonce]
}

// ReservedAt returns an open pool that an address is reserved for.
func (m *Memory) ReservedAt(at pool.Place) (Pool, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pools {
		if !p.Closed && p.reserves(at.Addr) && p.Parsed.Segment == at.Segment {
			return p, true
		}
	}
	return Pool{}, false
}

// Lease returns this node's lease of an address.
func (m *Memory) Lease(at pool.Place) (Lease, bool) { return one(m, m.leases, at) }

// Leases returns those that which picks, in order of address.
func (m *Memory) Leases(which func(Lease) bool) []Lease {
	return some(m, m.leases, which, byAddress)
}

func byAddress(a, b Lease) int {
	return cmp.Or(cmp.Compare(a.Segment, b.Segment), a.Address.Compare(b.Address))
}

// LeasesOf returns an endpoint's leases of one state, in order of address.
func (m *Memory) LeasesOf(endpoint string, state LeaseState) []Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Lease
	for at := range m.byEndpoint[endpoint] {
		if l := m.leases[at]; l.State == state {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, byAddress)
	return found
}

// WithHeld runs f with the addresses of this node's leases in a segment, which
// do not change meanwhile. f calls nothing of the memory.
func (m *Memory) WithHeld(segment string, f func(held *addrset.Set)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(addrset.In(m.held, segment))
}

func one[K comparable, T any](m *Memory, all map[K]T, key K) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record, ok := all[key]
	return record, ok
}

// some returns what which picks, in order. Which calls nothing of the memory.
func some[K comparable, T any](m *Memory, all map[K]T, which func(T) bool, order func(a, b T) int) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []T
	for _, record := range all {
		if which(record) {
			found = append(found, record)
		}
	}
	slices.SortFunc(found, order)
	return found
}
